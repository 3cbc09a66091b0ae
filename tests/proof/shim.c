/* Two faults that no kernel offers to one process alone: a disk that syncs slowly, and a clock that is wrong. Loaded with
 * LD_PRELOAD into the processes of a proof; both are read, at each call, from a file that the proof writes. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct knobs {
    volatile int64_t sync_delay_ms;
    volatile int64_t clock_offset_s;
};

static struct knobs untouched;
static struct knobs *knobs = &untouched;

__attribute__((constructor)) static void find_knobs(void) {
    const char *path = getenv("PROOF_KNOBS");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *page = mmap(NULL, sizeof(struct knobs), PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (page != MAP_FAILED)
        knobs = page;
}

static void delay(void) {
    int64_t ms = knobs->sync_delay_ms;
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    if (ms > 0)
        while (nanosleep(&left, &left) != 0) {
        }
}

int fsync(int file) {
    delay();
    return (int)syscall(SYS_fsync, file);
}

int fdatasync(int file) {
    delay();
    return (int)syscall(SYS_fdatasync, file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        now->tv_sec += knobs->clock_offset_s;
    return failed;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    (void)zone;
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    now->tv_sec = fine.tv_sec;
    now->tv_usec = fine.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *seconds) {
    struct timespec fine;
    clock_gettime(CLOCK_REALTIME, &fine);
    if (seconds)
        *seconds = fine.tv_sec;
    return fine.tv_sec;
}
