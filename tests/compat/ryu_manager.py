"""``ryu-manager`` on Python 3.11: ``PYTHON-WITH-RYU ryu_manager.py [options] app...``; Ryu itself is as released.

Ryu 4.34 imports a name that eventlet had until 2021, for its web socket pages
alone; the eventlet of that time does not run on Python 3.11. So that name is
put back before Ryu starts. Nothing else.
"""

import sys

import eventlet.wsgi

eventlet.wsgi.ALREADY_HANDLED = object()

from ryu.cmd.manager import main  # noqa: E402

sys.exit(main())
