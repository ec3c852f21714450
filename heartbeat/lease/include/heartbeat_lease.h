/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How an application tells heartbeat that it is alive: it touches a word of shared memory, again and again, and each time
 * promises to be alive for a while. Heartbeat's node answers probes while the promise stands.
 *
 *     struct heartbeat_lease *lease;
 *     int error = heartbeat_lease_open(&lease, "/run/xps/heartbeat/orders.lease");
 *     if (error != 0) { ... strerror(error) ... }
 *     for (;;) {
 *         ... a round of work ...
 *         heartbeat_lease_touch(lease);
 *     }
 *
 * A touch reads the clock, which the kernel maps into each process (vDSO), and stores a word: no system call. Touch where the
 * work is done, in the loop that would hang, not in a thread that does nothing else: that one goes on when the application
 * hangs. Touch at least three times a lease: heartbeat looks four times, and a busy host may keep either waiting.
 *
 * Heartbeat makes the file (lease_by = "shared"), and it outlives heartbeat: whoever has it open touches on. Clocks must be
 * the same: in a container with a time namespace of its own, CLOCK_MONOTONIC may differ from the host's. Heartbeat notices,
 * does not believe such a promise, and says so in its status.
 *
 * Any thread may touch, and so may a child; nothing is locked, so a signal handler may, too. C99 or C++, GCC or Clang, on
 * machines with atomic words of 64 bits. With a strict -std=c99 this header must come first, or _POSIX_C_SOURCE must be
 * 200809L.
 */
#ifndef HEARTBEAT_LEASE_H
#define HEARTBEAT_LEASE_H

#if !defined(_POSIX_C_SOURCE) && !defined(_GNU_SOURCE) && !defined(_DEFAULT_SOURCE)
#define _POSIX_C_SOURCE 200809L
#endif

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#if !defined(CLOCK_MONOTONIC) || !defined(O_NOFOLLOW)
#error "heartbeat_lease.h needs POSIX of 2008: include it first, or define _POSIX_C_SOURCE as 200809L"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/*
 * The file: 64 bytes, one line of the cache, in the byte order of the machine.
 *
 *     bytes    field            written by       value
 *      0..8    magic            heartbeat        XPSLEASE
 *      8..12   version          heartbeat        1
 *     12..16   reserved         heartbeat        0
 *     16..24   alive_until_ns   the application  CLOCK_MONOTONIC in nanoseconds; 0: not alive
 *     24..32   lease_ns         heartbeat        the longest promise that counts, in nanoseconds; changes when heartbeat is
 *                                                configured anew
 *     32..64   reserved         heartbeat        0
 */
struct heartbeat_lease {
    char magic[8];
    uint32_t version;
    uint32_t reserved;
    uint64_t alive_until_ns;
    uint64_t lease_ns;
    uint64_t zero[4];
};

#define HEARTBEAT_LEASE_VERSION 1

/* Compiles only if the struct is as long as the file. */
typedef char heartbeat_lease_is_64_bytes[sizeof(struct heartbeat_lease) == 64 ? 1 : -1];

/* CLOCK_MONOTONIC in nanoseconds. */
static inline uint64_t heartbeat_lease_now_ns(void)
{
    struct timespec now = {0, 0};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/*
 * Opens the file that heartbeat has made for the node (lease_file there). 0, or what errno would be: ENOENT while heartbeat
 * has not been started, EINVAL if it is something else than a lease of this version.
 */
static inline int heartbeat_lease_open(struct heartbeat_lease **lease, const char *path)
{
    struct stat status;
    struct heartbeat_lease *mapped;
    void *memory;
    int error = 0;
    int file = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

    *lease = NULL;
    if (file < 0)
        return errno;
    if (fstat(file, &status) != 0)
        error = errno;
    else if (!S_ISREG(status.st_mode) || status.st_size != (off_t)sizeof(struct heartbeat_lease))
        error = EINVAL;
    if (error != 0) {
        close(file);
        return error;
    }
    memory = mmap(NULL, sizeof(struct heartbeat_lease), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    error = errno;
    close(file);
    if (memory == MAP_FAILED)
        return error;
    mapped = (struct heartbeat_lease *)memory;
    if (memcmp(mapped->magic, "XPSLEASE", 8) != 0 || mapped->version != HEARTBEAT_LEASE_VERSION) {
        munmap(memory, sizeof(struct heartbeat_lease));
        return EINVAL;
    }
    *lease = mapped;
    return 0;
}

/*
 * The application is alive for promise_ns nanoseconds from now on, or for the configured lease if that is less. What another
 * thread has promised is not shortened.
 */
static inline void heartbeat_lease_touch_for(struct heartbeat_lease *lease, uint64_t promise_ns)
{
    const uint64_t lease_ns = __atomic_load_n(&lease->lease_ns, __ATOMIC_RELAXED);
    const uint64_t now_ns = heartbeat_lease_now_ns();
    const uint64_t longest_ns = now_ns + lease_ns;
    const uint64_t until_ns = now_ns + (promise_ns < lease_ns ? promise_ns : lease_ns);
    uint64_t word = __atomic_load_n(&lease->alive_until_ns, __ATOMIC_RELAXED);

    /* What lies further ahead than the lease nobody can have meant: it is of another clock, or of a longer lease. */
    while (word < until_ns || word > longest_ns) {
        if (__atomic_compare_exchange_n(&lease->alive_until_ns, &word, until_ns, 1, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
            break;
    }
}

/* The application is alive for as long as heartbeat's configuration says, from now on. */
static inline void heartbeat_lease_touch(struct heartbeat_lease *lease)
{
    heartbeat_lease_touch_for(lease, UINT64_MAX);
}

/* The application is not alive any more, whatever has been promised: for an orderly end. */
static inline void heartbeat_lease_release(struct heartbeat_lease *lease)
{
    __atomic_store_n(&lease->alive_until_ns, (uint64_t)0, __ATOMIC_RELEASE);
}

/* Until when the application has promised to be alive, on CLOCK_MONOTONIC in nanoseconds. */
static inline uint64_t heartbeat_lease_alive_until_ns(const struct heartbeat_lease *lease)
{
    return __atomic_load_n(&lease->alive_until_ns, __ATOMIC_ACQUIRE);
}

/* Closes it; what was promised last stands until it lapses. */
static inline void heartbeat_lease_close(struct heartbeat_lease *lease)
{
    munmap(lease, sizeof(struct heartbeat_lease));
}

#ifdef __cplusplus
}
#endif

#endif
