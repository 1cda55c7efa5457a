/* Preloaded, it moves the wall clock and the times of files LATER_SECONDS on; nothing else: waits
   and the monotonic clock stay as they are. `faketime` 0.9.10 makes sleeps of Python 3.11 fail. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>

#define NEXT(name) \
    static typeof(name) *next; \
    if (!next) next = (typeof(name) *)dlsym(RTLD_NEXT, #name)
#define STAT(name, arguments, ...) \
    int name arguments { \
        NEXT(name); \
        int code = next(__VA_ARGS__); \
        if (!code) { told->st_atime += later(); told->st_mtime += later(); told->st_ctime += later(); } \
        return code; \
    }

static long later(void) {
    static long seconds = -1;
    if (seconds < 0) {
        const char *told = getenv("LATER_SECONDS");
        seconds = told ? atol(told) : 0;
    }
    return seconds;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    NEXT(clock_gettime);
    int code = next(clock, now);
    if (!code && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += later();
    return code;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    NEXT(gettimeofday);
    int code = next(now, zone);
    if (!code) now->tv_sec += later();
    return code;
}

time_t time(time_t *now) {
    struct timespec told;
    clock_gettime(CLOCK_REALTIME, &told);
    if (now) *now = told.tv_sec;
    return told.tv_sec;
}

STAT(stat, (const char *restrict path, struct stat *restrict told), path, told)
STAT(lstat, (const char *restrict path, struct stat *restrict told), path, told)
STAT(fstat, (int file, struct stat *told), file, told)
STAT(fstatat, (int folder, const char *restrict path, struct stat *restrict told, int flags),
     folder, path, told, flags)
STAT(stat64, (const char *restrict path, struct stat64 *restrict told), path, told)
STAT(lstat64, (const char *restrict path, struct stat64 *restrict told), path, told)
STAT(fstat64, (int file, struct stat64 *told), file, told)
STAT(fstatat64, (int folder, const char *restrict path, struct stat64 *restrict told, int flags),
     folder, path, told, flags)

int statx(int folder, const char *restrict path, int flags, unsigned mask,
          struct statx *restrict told) {
    NEXT(statx);
    int code = next(folder, path, flags, mask, told);
    if (!code) {
        told->stx_atime.tv_sec += later(); told->stx_mtime.tv_sec += later();
        told->stx_ctime.tv_sec += later(); told->stx_btime.tv_sec += later();
    }
    return code;
}

static const struct timespec *earlier(const struct timespec *wanted, struct timespec *set) {
    if (!wanted) return NULL;
    for (int place = 0; place < 2; place++) {
        set[place] = wanted[place];
        if (set[place].tv_nsec != UTIME_NOW && set[place].tv_nsec != UTIME_OMIT)
            set[place].tv_sec -= later();
    }
    return set;
}

int utimensat(int folder, const char *path, const struct timespec wanted[2], int flags) {
    NEXT(utimensat);
    struct timespec set[2];
    return next(folder, path, earlier(wanted, set), flags);
}

int futimens(int file, const struct timespec wanted[2]) {
    NEXT(futimens);
    struct timespec set[2];
    return next(file, earlier(wanted, set));
}
