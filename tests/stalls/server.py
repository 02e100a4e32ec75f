# A server that answers EHLO, and at any other word does what its argument says.
import os, select, signal, sys

def say(text):
    os.write(1, text.encode() + b"\r\n")

def flood():
    while True:
        os.write(1, b"x" * 4096)

def fill():
    "Says more than anybody takes, and leaves: sooner than it is too long for who waits, and later than a slow machine is."
    os.set_blocking(1, False)
    while select.select([], [1], [], 1)[1]:
        os.write(1, b"x" * 4096)
    os._exit(7)

def trickle():
    "Says a little now and then."
    while True:
        os.write(1, b"x" * 2048)
        select.select([], [], [], 0.3)

def leave_child():
    "Leaves, but somebody still has its descriptors, and leaves when nobody hears it any more."
    if os.fork():
        os._exit(7)
    poll = select.poll()
    poll.register(1, 0)
    poll.poll()

def deaf():
    "Reads no more, and ends for nobody's sake."
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        signal.pause()

def hangs():
    "Reads no more."
    signal.pause()

def busy():
    "Reads no more until it has done what takes long."
    select.select([], [], [], 7)
    say("250 done")
    sys.exit(7)

def slow():
    "Reads a little now and then."
    while os.read(0, 1000):
        select.select([], [], [], 0.7)

signal.signal(signal.SIGPIPE, signal.SIG_DFL)
say("220 mx ESMTP")
for line in sys.stdin.buffer.raw:
    if line[:4] == b"EHLO":
        say("250 mx")
    else:
        globals()[sys.argv[1]]()
