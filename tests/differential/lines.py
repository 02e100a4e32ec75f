# A small server that reads lines in one of the ways servers do, says yes to everything, and tells standard error each
# command it has taken.
#
#   lf    as qmail's commands(): every LF ends a line, one CR before it does not belong to it, a NUL ends what is looked
#         at, and so does the first space
#   cr    a CR alone ends a line, too; a LF behind it does not
#   512   as fgets(3) into so many bytes: what is longer comes as another line
import os, re, sys

protocol, reads = sys.argv[1:]
greeting, yes, listed = {
    "smtp": (b"220 lines ESMTP\r\n", b"250 ok\r\n", {b"EHLO": b"250-lines\r\n250-PIPELINING\r\n250 8BITMIME\r\n"}),
    "pop3": (b"+OK lines <1@lines>\r\n", b"+OK\r\n", {
        b"CAPA": b"+OK\r\nUSER\r\nUIDL\r\n.\r\n", b"AUTH": b"+OK\r\nPLAIN\r\n.\r\n", b"LANG": b"+OK\r\nde\r\n.\r\n"}),
}[protocol]


def lines():
    waiting, behind_cr = b"", False
    while True:
        if reads == "512":
            end = waiting.find(b"\n", 0, 511) + 1 or (511 if len(waiting) >= 511 else 0)
        else:
            if behind_cr and waiting.startswith(b"\n"):
                waiting, behind_cr = waiting[1:], False
            found = re.search(b"[\r\n]" if reads == "cr" else b"\n", waiting)
            end = found.end() if found else 0
        if end:
            behind_cr = reads == "cr" and waiting[end - 1] == 13
            yield waiting[:end]
            waiting = waiting[end:]
        else:
            more = os.read(0, 1024)
            if not more:
                return
            waiting += more


def say(text):
    while text:
        text = text[os.write(1, text):]


try:
    say(greeting)
    mail = False
    for line in lines():
        text = line.rstrip(b"\n")
        text = (text[:-1] if text.endswith(b"\r") else text).split(b"\0")[0]
        if mail:
            mail = text != b"."
            if not mail:
                say(b"250 taken\r\n")
            continue
        verb, _, rest = text.partition(b" ")
        verb = verb.upper()
        os.write(2, b"took: " + verb.hex().encode() + b"\n")
        if verb == b"DATA" and protocol == "smtp":
            mail = True
            say(b"354 go on\r\n")
        elif verb == b"QUIT":
            say(b"221 bye\r\n" if protocol == "smtp" else b"+OK bye\r\n")
            break
        elif verb == b"STARTTLS" or verb == b"STLS":
            say(b"502 no\r\n" if protocol == "smtp" else b"-ERR no\r\n")
        elif verb == b"AUTH" and rest:
            say(b"-ERR no\r\n" if protocol == "pop3" else b"504 no\r\n")
        elif verb in listed and not (verb == b"LANG" and rest):
            say(listed[verb])
        else:
            say(yes)
except BrokenPipeError:
    pass
