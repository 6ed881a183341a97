/*-------------------------------------------------------------------------
 *
 * subprocess.c
 *	  Runs a program and takes what it prints, from a PostgreSQL process.
 *
 * Between fork and exec the child calls only what may be called there: libcurl
 * may have a thread, and a lock of malloc's be held.  Whether exec succeeded is
 * told by a pipe that it closes.
 *
 * src/aws/subprocess.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "postmaster/interrupt.h"
#include "storage/fd.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "utils/wait_event.h"

#include "aws/http.h"
#include "aws/subprocess.h"

/* How often to look whether it has ended, once it has closed its output: nobody announces that. */
#define EXIT_POLL_MS 10

/* How long a killed process is waited for: it may hang in the kernel. */
#define KILL_WAIT_MS 1000

/* Descriptors that we hold: two pipes. */
#define NFDS 4

typedef struct Subprocess
{
	const char *path;
	char **words;
	pid_t pid;  /* 0: not running */
	int output; /* read ends; -1: closed */
	int started;
	int64 give_up; /* http_clock_ms() */
	bool counted;  /* our descriptors have been reserved */
	char *buffer;
	size_t size;
	size_t length;
	int status; /* of waitpid() */
} Subprocess;

/* Who is to go along where the server is stopped at once, which ends a process without cleaning up. */
static volatile sig_atomic_t running_group = 0;

static void
quit_with_program(SIGNAL_ARGS)
{
	if (running_group != 0)
		(void) kill(-(pid_t) running_group, SIGKILL);
	/* as SignalHandlerForCrashExit() */
	_exit(2);
}

/* Close everything from here on up. */
static void
close_from(int first)
{
	struct rlimit limit;
	int last = 65536;

#ifdef SYS_close_range
	if (syscall(SYS_close_range, (unsigned) first, ~0U, 0U) == 0)
		return;
#endif
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		last = (int) limit.rlim_cur;
	for (int fd = first; fd < last; fd++)
		(void) close(fd);
}

static void
reset_signals(void)
{
	struct sigaction action;
	sigset_t none;

	memset(&action, 0, sizeof(action));
	action.sa_handler = SIG_DFL;
	for (int i = 1; i < NSIG; i++)
		(void) sigaction(i, &action, NULL);
	sigemptyset(&none);
	(void) sigprocmask(SIG_SETMASK, &none, NULL);
}

/* In the child.  All signals are blocked, so that none of the server's handlers runs here. */
static void
become_program(const Subprocess *process, int output, int started, pid_t parent)
{
	int null = open("/dev/null", O_RDWR);
	int saved_errno;

	(void) setpgid(0, 0);
	/* also where the server's process is killed; it may have been by now */
	(void) prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
	if (null >= 0 && dup2(null, 0) >= 0 && dup2(output, 1) >= 0 && dup2(null, 2) >= 0 &&
		dup2(started, 3) >= 0 && fcntl(3, F_SETFD, FD_CLOEXEC) == 0)
	{
		close_from(4);
		reset_signals();
		(void) execv(process->path, process->words);
		started = 3;
	}
	saved_errno = errno;
	if (write(started, &saved_errno, sizeof(saved_errno)) != sizeof(saved_errno))
		_exit(126);
	_exit(127);
}

/* A pipe whose ends are above those that the child's standard streams take; reading never blocks. */
static bool
make_pipe(int ends[2])
{
	int made[2];

	ends[0] = ends[1] = -1;
	if (pipe2(made, O_CLOEXEC) != 0)
		return false;
	for (int i = 0; i < 2; i++)
	{
		ends[i] = fcntl(made[i], F_DUPFD_CLOEXEC, 10);
		close(made[i]);
	}
	if (ends[0] >= 0 && ends[1] >= 0 && fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0)
		return true;
	for (int i = 0; i < 2; i++)
	{
		if (ends[i] >= 0)
			close(ends[i]);
	}
	return false;
}

static void
close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* False with errno: nothing was started. */
static bool
start(Subprocess *process)
{
	int output[2];
	int started[2];
	pid_t parent = getpid();
	sigset_t all;
	sigset_t saved;
	int saved_errno;

	if (!make_pipe(output))
		return false;
	if (!make_pipe(started))
	{
		close(output[0]);
		close(output[1]);
		return false;
	}
	sigfillset(&all);
	(void) sigprocmask(SIG_SETMASK, &all, &saved);
	process->pid = fork();
	if (process->pid == 0)
		become_program(process, output[1], started[1], parent);
	saved_errno = errno;
	/* in both processes, whichever comes first */
	if (process->pid > 0)
	{
		(void) setpgid(process->pid, process->pid);
		running_group = process->pid;
		pqsignal(SIGQUIT, quit_with_program);
	}
	(void) sigprocmask(SIG_SETMASK, &saved, NULL);
	close(output[1]);
	close(started[1]);
	process->output = output[0];
	process->started = started[0];
	if (process->pid > 0)
		return true;
	process->pid = 0;
	close_end(&process->output);
	close_end(&process->started);
	errno = saved_errno;
	return false;
}

/* Has it ended?  Then it is no more. */
static bool
has_ended(Subprocess *process)
{
	pid_t pid;

	do
		pid = waitpid(process->pid, &process->status, WNOHANG);
	while (pid < 0 && errno == EINTR);
	if (pid == 0)
		return false;
	if (pid < 0)
		process->status = 0;
	process->pid = 0;
	return true;
}

/* Raises nothing. */
static void
end(Subprocess *process)
{
	int64 give_up = http_clock_ms() + KILL_WAIT_MS;
	pid_t group = process->pid;

	if (group != 0)
	{
		(void) kill(-group, SIGKILL);
		while (!has_ended(process) && http_clock_ms() < give_up)
			pg_usleep(1000);
		process->pid = 0;
	}
	running_group = 0;
	pqsignal(SIGQUIT, SignalHandlerForCrashExit);
	close_end(&process->output);
	close_end(&process->started);
	for (int i = 0; process->counted && i < NFDS; i++)
		ReleaseExternalFD();
	process->counted = false;
}

static void
end_and_wipe(int code, Datum arg)
{
	Subprocess *process = (Subprocess *) DatumGetPointer(arg);

	end(process);
	explicit_bzero(process->buffer, process->size);
}

/* Until the descriptor can be read, or so many ms; interrupts are served.  False: the time is over. */
static bool
wait_for(const Subprocess *process, int fd, long at_most)
{
	long left = (long) Max(process->give_up - http_clock_ms(), 0);
	int what = WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH | (fd >= 0 ? WL_SOCKET_READABLE : 0);

	if (left == 0)
		return false;
	if (WaitLatchOrSocket(MyLatch, what, fd, at_most < 0 ? left : Min(left, at_most), PG_WAIT_EXTENSION) &
		WL_LATCH_SET)
		ResetLatch(MyLatch);
	CHECK_FOR_INTERRUPTS();
	return true;
}

/* Read what is there.  False: it is at its end, or there is no room for more. */
static bool
read_more(int fd, char *buffer, size_t size, size_t *length)
{
	ssize_t n = read(fd, buffer + *length, size - *length);

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	*length += (size_t) n;
	return n > 0 && *length < size;
}

/* The errno of exec, which is 0 where it succeeded; -1: the time is over. */
static int
wait_for_exec(Subprocess *process)
{
	int failure = 0;
	size_t length = 0;

	do
	{
		if (!wait_for(process, process->started, -1))
			return -1;
	} while (read_more(process->started, (char *) &failure, sizeof(failure), &length));
	return length == sizeof(failure) ? failure : 0;
}

static SubprocessOutcome
follow(Subprocess *process, int *status)
{
	*status = wait_for_exec(process);
	if (*status != 0)
		return *status < 0 ? SUBPROCESS_TIMED_OUT : SUBPROCESS_NOT_FOUND;
	do
	{
		if (!wait_for(process, process->output, -1))
			return SUBPROCESS_TIMED_OUT;
	} while (read_more(process->output, process->buffer, process->size, &process->length));
	if (process->length == process->size)
		return SUBPROCESS_TOO_LARGE;
	while (!has_ended(process))
	{
		if (!wait_for(process, -1, EXIT_POLL_MS))
			return SUBPROCESS_TIMED_OUT;
	}
	*status = WIFEXITED(process->status) ? WEXITSTATUS(process->status) : WTERMSIG(process->status);
	return WIFEXITED(process->status) ? SUBPROCESS_EXITED : SUBPROCESS_SIGNALLED;
}

/* The path of the program, palloc'd; NULL: it is not found. */
static char *
find_program(const char *name)
{
	const char *part = getenv("PATH");

	if (strchr(name, '/') != NULL)
		return pstrdup(name);
	while (part != NULL && name[0] != '\0')
	{
		size_t length = strcspn(part, ":");
		char *path = psprintf("%.*s/%s", (int) length, part, name);
		struct stat st;

		/* an empty part is the working directory, which is the database's: nothing to run is there */
		if (length > 0 && stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0)
			return path;
		pfree(path);
		part = part[length] == ':' ? part + length + 1 : NULL;
	}
	return NULL;
}

SubprocessOutcome
subprocess_run(char **words, int timeout, char *output, size_t size, size_t *length, int *status)
{
	Subprocess process = {.words = words, .output = -1, .started = -1, .buffer = output, .size = size};
	volatile SubprocessOutcome outcome = SUBPROCESS_NOT_FOUND;

	*length = 0;
	*status = ENOENT;
	process.path = find_program(words[0]);
	if (process.path == NULL)
		return SUBPROCESS_NOT_FOUND;
	process.give_up = http_clock_ms() + timeout;
	for (int i = 0; i < NFDS; i++)
		ReserveExternalFD();
	process.counted = true;
	PG_ENSURE_ERROR_CLEANUP(end_and_wipe, PointerGetDatum(&process));
	{
		if (start(&process))
			outcome = follow(&process, status);
		else
			*status = errno;
	}
	PG_END_ENSURE_ERROR_CLEANUP(end_and_wipe, PointerGetDatum(&process));
	end(&process);
	*length = process.length;
	if (outcome != SUBPROCESS_EXITED)
		explicit_bzero(output, size);
	return outcome;
}
