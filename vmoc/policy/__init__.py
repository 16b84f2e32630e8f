"""The isolation policy: may this message pass, and in which form. Pure functions.

A *grant* says what one virtual datapath may do on one switch. A *rule* is a
named step that either narrows the message or raises ``Refused``; the rules of
a message form one ordered chain and the first to refuse answers. A *verdict*
is what comes out: the narrowed message, or a ``Refusal`` that names the rule
and the reason. A *recipe* is a verdict remembered for all messages of one
shape. Whatever no rule understands is refused.
"""
