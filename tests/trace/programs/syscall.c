/* One system call: syscall NAME [ARGUMENTS]. */
#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int open_temporary(int at)
{
    char path[512];
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/bpftrace_runtime_test_syscall_gen_open_temp", folder ? folder : "/tmp");
    long fd = at ? syscall(SYS_openat, AT_FDCWD, path, O_CREAT | O_RDWR, 0600) : syscall(SYS_open, path, O_CREAT | O_RDWR, 0600);
    unlink(path);
    return fd < 0;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (!strcmp(name, "nanosleep")) {
        double ns = argc > 2 ? atof(argv[2]) : 0;
        struct timespec t = {(time_t)(ns / 1e9), (long)(ns - (long)(ns / 1e9) * 1e9)};
        return syscall(SYS_nanosleep, &t, NULL) < 0;
    }
    if (!strcmp(name, "read")) {
        char buffer[1];
        int fd = open("/dev/zero", O_RDONLY);
        return syscall(SYS_read, fd, buffer, 1) < 0;
    }
    if (!strcmp(name, "open"))
        return open_temporary(0);
    if (!strcmp(name, "openat"))
        return open_temporary(1);
    if (!strcmp(name, "execve") && argc > 2) {
        char *none[] = {NULL};
        return syscall(SYS_execve, argv[2], argv + 2, none) < 0;
    }
    if (!strcmp(name, "connect") && argc > 3) {
        struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[3]))};
        inet_pton(AF_INET, argv[2], &to.sin_addr);
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        connect(fd, (struct sockaddr *)&to, sizeof to);
        return 0;
    }
    fprintf(stderr, "syscall: no such call: %s\n", name);
    return 1;
}
