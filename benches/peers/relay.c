/* The smallest relay between a client at descriptors 0 and 1 and a program: it waits and splices, and looks at nothing. It blocks
   on neither side, as one must that carries both ways: or two who both speak before they listen would wait for ever. What it
   loses of the bare server's rate, every relay loses that a program speaks through. relay PROGRAM */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* As wide as the wrapper's (WIDE_PIPE_SIZE). */
enum { WIDE = 256 * 1024 };

/* One direction; it waits for input, or for room where there was none. */
struct way {
  int from, to;
  struct pollfd *wait;
};

static int ends(struct way *way) {
  if (way->wait->fd < 0 || !way->wait->revents) return 0;
  ssize_t moved = splice(way->from, 0, way->to, 0, WIDE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  if (moved == 0 || (moved < 0 && errno != EAGAIN)) {
    way->wait->fd = -1;
    return 1;
  }
  int full = moved < 0 && way->wait->events == POLLIN;
  way->wait->fd = full ? way->to : way->from;
  way->wait->events = full ? POLLOUT : POLLIN;
  return 0;
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
  int ours[] = {0, 1, up[1], down[0]};
  for (int i = 0; i < 4; i++) fcntl(ours[i], F_SETFL, fcntl(ours[i], F_GETFL) | O_NONBLOCK);
  struct pollfd waits[2] = {{.fd = 0, .events = POLLIN}, {.fd = down[0], .events = POLLIN}};
  struct way upwards = {0, up[1], &waits[0]}, downwards = {down[0], 1, &waits[1]};
  while (waits[1].fd >= 0 && poll(waits, 2, -1) > 0) {
    if (ends(&upwards)) close(up[1]);
    if (ends(&downwards)) shutdown(1, SHUT_WR);
  }
  wait(0);
  return 0;
}
