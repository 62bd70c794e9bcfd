"""How mail comes in: the SMTP and LMTP sessions behind `gateway.smtp` and `gateway.lmtp`.

`session` tells the story of one connection from the greeting to the last reply; `delivery`
tells that of one message. The other modules each hold one thing that those two need.
"""
