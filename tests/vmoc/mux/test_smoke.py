from tests.vmoc.mux.playbook import *


def test_smoke():
    for v in (1, 4):
        book, switch = scene(v)
        print(book.mux.describe())
        assert len(book.controllers()) == 4
        print({n: switch.guards(n) for n in (100, 200, 300, 400)})
        a = book.at("alice")
        a.add(2)
        print(switch.flows(), a.inbox)
        print(a.flow_stats())
        print(a.aggregate())
