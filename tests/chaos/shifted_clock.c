/* A wrong wall clock for one process: cc -shared -fPIC -o shifted_clock.so shifted_clock.c -ldl, then LD_PRELOAD.
 *
 * CLOCK_SHIFT names a file of eight bytes, the shift in seconds. It is mapped, so the clock jumps as soon as somebody
 * writes there. Only what is asked of the wall clock is shifted; timers and the monotonic clock go on as they are.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *shift;
static const int64_t none;

static int64_t shifted(void) {
  if (shift == NULL) {
    const char *path = getenv("CLOCK_SHIFT");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *page = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *shift, PROT_READ, MAP_SHARED, file, 0);
    if (file >= 0) close(file);
    shift = page == MAP_FAILED ? &none : page;
  }
  return *shift;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
  static int (*real)(clockid_t, struct timespec *);
  if (real == NULL) real = dlsym(RTLD_NEXT, "clock_gettime");
  int failed = real(clock, at);
  if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) at->tv_sec += shifted();
  return failed;
}

int gettimeofday(struct timeval *at, void *zone) {
  static int (*real)(struct timeval *, void *);
  if (real == NULL) real = dlsym(RTLD_NEXT, "gettimeofday");
  int failed = real(at, zone);
  if (!failed) at->tv_sec += shifted();
  return failed;
}

time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at != NULL) *at = now.tv_sec;
  return now.tv_sec;
}
