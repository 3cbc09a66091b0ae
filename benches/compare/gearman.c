/* The work of benches/compare on gearmand, with libgearman:

       compare-gearman worker PORT
       compare-gearman submit PORT TASKS BYTES

   The submitter prints one line of JSON. */

#include <libgearman/gearman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Tasks one at a time, as for every peer. */
#define LATENCIES 200
/* Tasks on their way at once: past this the library's list of tasks is what takes the time. */
#define AT_ONCE 1000

static unsigned long ended;

static void fail(const char *what) {
    fprintf(stderr, "compare-gearman: %s\n", what);
    exit(1);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static gearman_return_t noop(gearman_job_st *job, void *context) {
    (void)job;
    (void)context;
    return GEARMAN_SUCCESS;
}

static gearman_return_t on_end(gearman_task_st *task) {
    (void)task;
    ended++;
    return GEARMAN_SUCCESS;
}

static void work(in_port_t port) {
    gearman_worker_st *worker = gearman_worker_create(NULL);
    if (worker == NULL || gearman_failed(gearman_worker_add_server(worker, "127.0.0.1", port)))
        fail("no worker");
    gearman_function_t handler = gearman_function_create(noop);
    if (gearman_failed(gearman_worker_define_function(worker, "noop", 4, handler, 0, NULL)))
        fail("no function");
    while (gearman_success(gearman_worker_work(worker)))
        ;
    fail(gearman_worker_error(worker));
}

static void run(gearman_client_st *client, const char *payload, size_t bytes, unsigned long tasks) {
    gearman_return_t status;
    for (unsigned long task = 0; task < tasks; task++) {
        gearman_client_add_task(client, NULL, NULL, "noop", NULL, payload, bytes, &status);
        if (gearman_failed(status))
            fail(gearman_client_error(client));
    }
    unsigned long before = ended;
    if (gearman_failed(gearman_client_run_tasks(client)) || ended != before + tasks)
        fail(gearman_client_error(client));
    gearman_client_task_free_all(client);
}

static void submit(in_port_t port, unsigned long tasks, size_t bytes) {
    gearman_client_st *client = gearman_client_create(NULL);
    if (client == NULL || gearman_failed(gearman_client_add_server(client, "127.0.0.1", port)))
        fail("no client");
    gearman_client_set_complete_fn(client, on_end);
    char *payload = malloc(bytes);
    if (payload == NULL)
        fail("no memory");
    memset(payload, 'x', bytes);

    /* The worker may be starting still. */
    run(client, payload, bytes, 1);
    double start = now();
    for (unsigned long left = tasks; left > 0;) {
        unsigned long some = left < AT_ONCE ? left : AT_ONCE;
        run(client, payload, bytes, some);
        left -= some;
    }
    printf("{\"seconds\": %f, \"latencies_ms\": [", now() - start);
    for (int task = 0; task < LATENCIES; task++) {
        start = now();
        run(client, payload, bytes, 1);
        printf("%s%f", task == 0 ? "" : ", ", (now() - start) * 1e3);
    }
    printf("]}\n");
}

int main(int count, char **arguments) {
    if (count == 3 && strcmp(arguments[1], "worker") == 0)
        work((in_port_t)atoi(arguments[2]));
    else if (count == 5 && strcmp(arguments[1], "submit") == 0)
        submit((in_port_t)atoi(arguments[2]), strtoul(arguments[3], NULL, 10), strtoul(arguments[4], NULL, 10));
    else
        fail("usage: compare-gearman worker PORT | submit PORT TASKS BYTES");
    return 0;
}
