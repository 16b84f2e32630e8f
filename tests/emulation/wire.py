"""The whole wire vocabulary under one name: ``from tests.emulation import wire as of``."""

from tests.emulation.actions import *  # noqa: F403
from tests.emulation.build import *  # noqa: F403
from tests.emulation.layout import *  # noqa: F403
from tests.emulation.match import *  # noqa: F403
from tests.emulation.read import *  # noqa: F403
