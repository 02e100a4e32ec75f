# Stands where prog stands: hands its descriptors 0 and 1 to the test, and ends when the test lets go of it, with the
# status the test says.
import os, socket, sys

with socket.socket(socket.AF_UNIX) as test:
    test.connect("\0" + sys.argv[1])
    socket.send_fds(test, [b"!"], [0, 1])
    os.close(0)
    os.close(1)
    status = test.recv(1)
os._exit(status[0] if status else 0)
