import sys, pytest, subprocess
from mininet_scenarios.namespaces import listening
from mininet_scenarios.processes import wait_until
from tests.ovs.lab import *

A=101
pytestmark = pytest.mark.ovs

def r(lab, *w, stdin=None):
    d = subprocess.run(w, capture_output=True, text=True, timeout=15, env={**__import__('os').environ, **lab.ovs.env}, input=stdin)
    print("$", " ".join(w), "->", d.returncode); print(d.stdout[-3000:], d.stderr[-1500:])
    return d

@pytest.mark.parametrize("v", ["OpenFlow10", "OpenFlow13"])
def test_x(lab, v):
    lab.process("rv", sys.executable, "-m", "tests.compat.rendezvous", "6641", "6640", "6642")
    wait_until(lambda: listening(6641), "x")
    lab.run_vmoc(a_slice("alice", A, "tcp:127.0.0.1:6640", "tcp:127.0.0.1:6642"))
    lab.bridge(protocols=[v])
    lab.bridge("pr", 2, protocols=[v], controllers=[])
    r(lab, "timeout", "3", "ovs-ofctl", "-O", v, "dump-flows", "ptcp:7777")
    for c in (["probe"], ["show"], ["dump-desc"], ["dump-tables"], ["add-flow", "in_port=1,dl_dst=02:00:00:00:00:02,cookie=7,priority=5,actions=output:2"], ["dump-flows"], ["dump-aggregate"], ["dump-ports"], ["dump-ports-desc"],["ping"],["get-frags"],["queue-get-config","1"], ["queue-stats"], ["mod-flows", "dl_dst=02:00:00:00:00:02,actions=output:3"], ["dump-flows"], ["dump-flows", "out_port=3"], ["dump-groups"], ["add-group", "group_id=1,type=all,bucket=output:1"], ["dump-groups"],["dump-group-features"], ["dump-meters"], ["meter-features"], ["dump-table-features"], ["mod-port","1","no-flood"],["packet-out", "in_port=CONTROLLER packet=ffffffffffff020000000001810000650800aabbccddeeff actions=FLOOD"], ["del-flows"], ["dump-flows"], ["set-frags", "normal"], ["bogus"]):
        for t in ("pr", "tcp:127.0.0.1:6641"):
            r(lab, "ovs-ofctl", "-O", v, c[0], t, *c[1:])
    print(lab.vmoc.output()[-6000:]); assert 0
