/* The smallest relay between a client at descriptors 0 and 1 and a program: it waits and splices, and looks at nothing. What it
   loses of the bare server's rate, every relay loses that a program speaks through. relay PROGRAM */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* As wide as the wrapper's (WIDE_PIPE). */
enum { WIDE = 256 * 1024 };

static int moved(int from, int to) {
  return splice(from, 0, to, 0, WIDE, SPLICE_F_MOVE) > 0;
}

int main(int argc, char **argv) {
  int up[2], down[2];
  if (argc < 2 || pipe2(up, O_CLOEXEC) != 0 || pipe2(down, O_CLOEXEC) != 0) return 111;
  fcntl(up[1], F_SETPIPE_SZ, WIDE);
  fcntl(down[0], F_SETPIPE_SZ, WIDE);
  if (vfork() == 0) {
    dup2(up[0], 0);
    dup2(down[1], 1);
    execv(argv[1], argv + 1);
    _exit(127);
  }
  close(up[0]);
  close(down[1]);
  signal(SIGPIPE, SIG_IGN);
  struct pollfd ends[2] = {{.fd = 0, .events = POLLIN}, {.fd = down[0], .events = POLLIN}};
  while (ends[1].fd >= 0 && poll(ends, 2, -1) > 0) {
    if (ends[0].revents && !moved(0, up[1])) {
      close(up[1]);
      ends[0].fd = -1;
    }
    if (ends[1].revents && !moved(down[0], 1)) {
      shutdown(1, SHUT_WR);
      ends[1].fd = -1;
    }
  }
  wait(0);
  return 0;
}
