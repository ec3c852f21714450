/* An application that is alive while its loop goes round: worker FILE [ROUNDS]. Without ROUNDS it never ends. */
#include "heartbeat_lease.h"

#include <stdio.h>
#include <stdlib.h>

int main(int arguments, char **argument)
{
    struct heartbeat_lease *lease;
    const struct timespec work = {0, 2000000};
    long left = arguments > 2 ? atol(argument[2]) : -1;
    int error;

    if (arguments < 2) {
        fprintf(stderr, "usage: worker FILE [ROUNDS]\n");
        return 2;
    }
    error = heartbeat_lease_open(&lease, argument[1]);
    if (error != 0) {
        fprintf(stderr, "%s: %s\n", argument[1], strerror(error));
        return 1;
    }
    while (left < 0 || left-- > 0) {
        nanosleep(&work, NULL);
        heartbeat_lease_touch(lease);
    }
    /* An orderly end: nobody has to wait until the promise lapses. */
    printf("%llu\n", (unsigned long long)heartbeat_lease_alive_until_ns(lease));
    heartbeat_lease_release(lease);
    heartbeat_lease_close(lease);
    return 0;
}
