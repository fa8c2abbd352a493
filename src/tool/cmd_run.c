/* SPDX-License-Identifier: MIT */
/*
 * weir run: checks everything that can be checked, writes the configuration
 * where the agents find it, starts the program with the agent preloaded, waits
 * and reports.
 *
 * weir itself is never in the way of a page: the engine runs inside the
 * program. What weir gives is the shared table, a parent that passes signals
 * on, and an end: when weir is killed the program is, too.
 */
#include "tool/run.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define AGENT_NAME "libweir-agent.so"

struct run {
	struct run_options opt;
	char **argv;		 /* the command */
	char command[PATH_MAX];	 /* the file it is */
	char agent[PATH_MAX];
	struct swap_place swap;
	struct machine machine;
	FILE *json;
	struct weir_shared *shared;
	int shared_fd;
	pid_t pid;
	sigset_t old_mask;
	struct sigaction old_chld;
};

void run_help(void)
{
	fputs("usage: weir run --memory SIZE [OPTIONS] -- COMMAND "
	      "[ARGUMENTS]\n\n"
	      "Runs COMMAND inside a memory budget. Each process it starts has "
	      "the same\nbudget to itself.\n\n",
	      stdout);
	run_options_help(stdout);
	fputs("\nEach option can be given in the environment, too: "
	      "--swap as WEIR_SWAP,\nand so on.\n\n"
	      "Exit status: the command's own, or 128+N when signal N ended it;"
	      "\n  64 bad usage; 69 this machine or this command cannot be "
	      "managed;\n  73 the swap or report file cannot be made; 125 weir "
	      "failed;\n  126 the command cannot be executed; 127 it does not "
	      "exist.\n\n"
	      "example: weir run --memory 256M -- sort --buffer-size=1G "
	      "big.txt\n",
	      stdout);
}

/* --- before the program starts ---------------------------------------- */

static void put_remedy(const char *line)
{
	fprintf(stderr, "  %s\n", line);
}

static int check_machine(struct run *r)
{
	const char *why;

	machine_probe(&r->machine);
	why = machine_refusal(&r->machine);
	if (!why)
		return 0;
	complain("run", "%s.", why);
	machine_remedy(&r->machine, put_remedy);
	fputs("  weir doctor says more.\n", stderr);
	return EXIT_UNAVAILABLE;
}

static int check_swap(struct run *r)
{
	const char *arg = r->opt.swap ? r->opt.swap : swap_default_dir();
	char err[PATH_MAX + 160], have[SIZE_TEXT], want[SIZE_TEXT];
	int rc = swap_place_parse(arg, &r->swap, err, sizeof(err));

	if (rc) {
		complain("run", "%s", err);
		return rc;
	}
	if (!r->swap.bytes || r->opt.quiet)
		return 0;
	if (r->swap.in_memory)
		complain("run", "note: %s is held in memory: what is taken "
				"out stays in RAM there",
			 r->swap.path);
	if (r->swap.bytes > r->swap.free_bytes)
		complain("run", "note: %s of swap asked for, %s free in %s",
			 size_format(r->swap.bytes, want, sizeof(want)),
			 size_format(r->swap.free_bytes, have, sizeof(have)),
			 r->swap.path);
	return 0;
}

static int check_command(struct run *r)
{
	char err[512];
	int rc = command_check(r->argv[0], r->command, sizeof(r->command), err,
			       sizeof(err));

	if (rc)
		complain("run", "%s", err);
	return rc;
}

/* The agent stands beside weir in a build tree, below its library directory
 * when installed, wherever the whole installation was moved to. */
static int find_agent(struct run *r)
{
	static const char *const places[] = {"", WEIR_AGENT_FROM_BIN "/", NULL};
	char exe[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);

	exe[n < 0 ? 0 : n] = '\0';
	slash = strrchr(exe, '/');
	for (int i = 0; slash && places[i]; i++) {
		snprintf(r->agent, sizeof(r->agent), "%.*s/%s" AGENT_NAME,
			 (int)(slash - exe), exe, places[i]);
		if (!access(r->agent, R_OK))
			goto found;
	}
	snprintf(r->agent, sizeof(r->agent), "%s/" AGENT_NAME, WEIR_AGENT_DIR);
	if (access(r->agent, R_OK)) {
		complain("run", "cannot find " AGENT_NAME
				", which belongs beside weir or in %s",
			 WEIR_AGENT_DIR);
		return EXIT_WEIR_FAILED;
	}
found:
	if (!r->agent[strcspn(r->agent, " :")])
		return 0;
	complain("run", "%s: the dynamic linker cannot preload a path with a "
			"space or a colon",
		 r->agent);
	return EXIT_WEIR_FAILED;
}

static int open_json(struct run *r)
{
	if (!r->opt.json_file)
		return 0;
	r->json = fopen(r->opt.json_file, "we");
	if (r->json)
		return 0;
	complain("run", "--json=%s: %s", r->opt.json_file, strerror(errno));
	return EXIT_CANTCREAT;
}

static void fill_config(const struct run *r, struct weir_config *c)
{
	const struct machine *m = &r->machine;
	const char *store_error = getenv("WEIR_STORE_ERROR");

	c->memory_bytes = r->opt.memory_bytes;
	c->swap_bytes = r->swap.bytes;
	c->zmem_bytes = r->opt.zmem_bytes;
	c->zmem_codec = r->opt.codec;
	c->zmem_level = r->opt.level;
	memcpy(c->swap_path, r->swap.path, sizeof(c->swap_path));
	if (m->uffd_syscall)
		strcpy(c->uffd_path, "/dev/userfaultfd");
	c->uffd_features = m->features;
	c->tun = r->opt.tun;
	c->verbose = r->opt.verbose;
	c->flags = (m->event_fork ? 0 : WEIR_CONFIG_NO_EVENT_FORK) |
		   (m->uring || getenv("WEIR_NO_URING") ?
			    WEIR_CONFIG_NO_URING :
			    0) |
		   (r->swap.direct ? 0 : WEIR_CONFIG_BUFFERED);
	if (store_error)
		strncpy(c->store_error, store_error,
			sizeof(c->store_error) - 1);
}

static int fail(const char *what)
{
	complain("run", "%s: %s", what, strerror(errno));
	return EXIT_WEIR_FAILED;
}

static int make_shared(struct run *r)
{
	r->shared_fd = memfd_create("weir-run", MFD_CLOEXEC);
	if (r->shared_fd < 0 || ftruncate(r->shared_fd, sizeof(*r->shared)))
		return fail("shared memory");
	r->shared = mmap(NULL, sizeof(*r->shared), PROT_READ | PROT_WRITE,
			 MAP_SHARED, r->shared_fd, 0);
	if (r->shared == MAP_FAILED)
		return fail("shared memory");
	fill_config(r, &r->shared->config);
	weir_shared_init(r->shared, getpid());
	return 0;
}

static int set_environment(const struct run *r)
{
	const char *old = getenv("LD_PRELOAD");
	char shared[64], *preload;

	snprintf(shared, sizeof(shared), "/proc/%d/fd/%d", (int)getpid(),
		 r->shared_fd);
	if (asprintf(&preload, "%s%s%s", r->agent, old && *old ? ":" : "",
		     old ? old : "") < 0)
		return fail("environment");
	if (setenv(WEIR_SHARED_ENV, shared, 1) ||
	    setenv("LD_PRELOAD", preload, 1)) {
		free(preload);
		return fail("environment");
	}
	free(preload);
	return 0;
}

/* --- while it runs ---------------------------------------------------- */

static const int forwarded[] = {SIGHUP,	 SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
				SIGUSR2, SIGALRM, SIGCONT, SIGWINCH};

#define NR_FORWARDED (sizeof(forwarded) / sizeof(forwarded[0]))

static void hold_signals(struct run *r)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t set;

	/* With an inherited SIG_IGN there would be nothing to wait for. */
	sigaction(SIGCHLD, &dfl, &r->old_chld);
	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (size_t i = 0; i < NR_FORWARDED; i++)
		sigaddset(&set, forwarded[i]);
	sigprocmask(SIG_BLOCK, &set, &r->old_mask);
}

/* In the child. Ends in the command, or in an errno through report_fd. */
static void child(const struct run *r, pid_t weir, int report_fd)
{
	int error;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != weir) /* killed before we asked */
		_exit(EXIT_WEIR_FAILED);
	sigaction(SIGCHLD, &r->old_chld, NULL);
	sigprocmask(SIG_SETMASK, &r->old_mask, NULL);
	execvp(r->argv[0], r->argv);
	error = errno;
	if (write(report_fd, &error, sizeof(error)) != sizeof(error))
		_exit(EXIT_WEIR_FAILED);
	_exit(EXIT_CANNOT_EXEC);
}

static int start(struct run *r)
{
	int report[2], error = 0;
	pid_t weir = getpid();

	if (pipe2(report, O_CLOEXEC))
		return fail("pipe");
	hold_signals(r);
	r->pid = fork();
	if (r->pid < 0)
		return fail("fork");
	if (!r->pid)
		child(r, weir, report[1]);
	close(report[1]);
	while (read(report[0], &error, sizeof(error)) < 0 && errno == EINTR)
		;
	close(report[0]);
	if (!error)
		return 0;
	waitpid(r->pid, NULL, 0);
	complain("run", "%s: %s", r->argv[0], strerror(error));
	return error == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXEC;
}

/*
 * Waits for the program and passes signals on. What the terminal sends goes
 * to the whole foreground group, so the program has had it already; only what
 * a process sent to weir alone is passed on.
 */
static int wait_for(struct run *r, struct run_result *res)
{
	sigset_t set;
	siginfo_t info;
	pid_t got;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	for (size_t i = 0; i < NR_FORWARDED; i++)
		sigaddset(&set, forwarded[i]);
	for (;;) {
		int sig = sigwaitinfo(&set, &info);

		if (sig > 0 && sig != SIGCHLD && info.si_code <= 0)
			kill(r->pid, sig);
		got = wait4(r->pid, &res->wait_status, WNOHANG, &res->usage);
		if (got == r->pid)
			return 0;
		if (got < 0 && errno != EINTR)
			return fail("wait");
	}
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* --- the whole of it -------------------------------------------------- */

static int prepare(struct run *r)
{
	int rc = check_command(r);

	rc = rc ? rc : check_machine(r);
	rc = rc ? rc : check_swap(r);
	rc = rc ? rc : find_agent(r);
	rc = rc ? rc : open_json(r);
	rc = rc ? rc : make_shared(r);
	return rc ? rc : set_environment(r);
}

static void report(struct run *r, const struct run_result *res)
{
	if (r->json) {
		run_report_json(r->json, r->shared, res);
		if (fclose(r->json))
			complain("run", "--json=%s: %s", r->opt.json_file,
				 strerror(errno));
	}
	if (r->opt.json && !r->opt.json_file)
		run_report_json(stderr, r->shared, res);
	else if (r->opt.quiet)
		run_report_errors(stderr, r->shared);
	else
		run_report(stderr, r->shared, res, r->opt.stats);
}

int cmd_run(int argc, char **argv)
{
	static struct run r;
	struct run_result res = {0};
	uint64_t begin;
	int next, rc;

	rc = run_options_parse(argc, argv, &r.opt, &next);
	if (rc)
		return rc;
	if (r.opt.help) {
		run_help();
		return 0;
	}
	r.argv = argv + next;
	rc = prepare(&r);
	if (rc)
		return rc;
	if (r.opt.verbose)
		complain("run", "agent %s, swap %s", r.agent,
			 r.swap.bytes ? r.swap.path : "none");
	begin = now_ns();
	rc = start(&r);
	if (!rc)
		rc = wait_for(&r, &res);
	/* What the program left running goes on without us. */
	r.shared->finished = 1;
	if (rc)
		return rc;
	res.elapsed_ns = now_ns() - begin;
	res.argv = r.argv;
	res.exit_status = WIFSIGNALED(res.wait_status) ?
				  128 + WTERMSIG(res.wait_status) :
				  WEXITSTATUS(res.wait_status);
	report(&r, &res);
	return res.exit_status;
}
