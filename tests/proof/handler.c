/* The program that tasks of a proof run. It keeps the record of what really ran: one line when an attempt starts and one
 * when it ends, each in one write to a file opened for appending, so that lines of many processes never mix.
 *
 *   handler RECORD work     sleeps for the milliseconds that the payload begins with; the payload is its result
 *   handler RECORD fail     the same, and fails
 *   handler RECORD poison   kills its worker
 *   handler RECORD stubborn as work, and goes on when it is asked to stop
 *   handler RECORD parent   as work, with a child beside it that leaves its group and would sleep on for ten minutes
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int record;

static void note(const char *what) {
    char line[256];
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int length = snprintf(line, sizeof line, "%s %s %s %s %d %lld%09ld\n", what, getenv("HERDSMAN_TASK_ID"),
                          getenv("HERDSMAN_ATTEMPT"), getenv("HERDSMAN_FENCE"), (int)getpid(), (long long)now.tv_sec,
                          now.tv_nsec);
    if (write(record, line, (size_t)length) != length)
        abort();
}

/* The guard is the parent; the worker is the guard's. */
static pid_t worker(void) {
    char path[64], line[128];
    pid_t parent = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)getppid());
    FILE *status = fopen(path, "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "PPid: %d", &parent) == 1)
            break;
    return parent;
}

static void sleep_ms(long ms) {
    struct timespec left = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&left, &left) != 0) {
    }
}

int main(int count, char **arguments) {
    static char payload[65537];
    size_t length = 0;
    ssize_t got;
    if (count != 3 || (record = open(arguments[1], O_WRONLY | O_APPEND | O_CLOEXEC)) < 0)
        return 2;
    if (!strcmp(arguments[2], "stubborn"))
        signal(SIGTERM, SIG_IGN);
    note("start");
    while ((got = read(0, payload + length, sizeof payload - 1 - length)) > 0)
        length += (size_t)got;
    if (!strcmp(arguments[2], "poison")) {
        pid_t victim = worker();
        if (victim > 1)
            kill(victim, SIGKILL);
        sleep_ms(600000);
    }
    if (!strcmp(arguments[2], "parent")) {
        pid_t child = fork();
        if (child == 0) {
            setsid();
            close(0), close(1), close(2);
            sleep_ms(600000);
            _exit(0);
        }
    }
    sleep_ms(strtol(payload, NULL, 10));
    if (write(1, payload, length) != (ssize_t)length)
        return 2;
    note("end");
    return strcmp(arguments[2], "fail") ? 0 : 3;
}
