/* Signals that end a guest. Package os/signal would take a round trip to a
 * thread of its own for each, a millisecond in all; here a handler notes the
 * first and wakes whoever waits at the eventfd. */
#define _GNU_SOURCE
#include "entry.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

static _Atomic int caught, wake = -1;

static void note(int sig)
{
	const uint64_t one = 1;
	int none = 0, saved = errno;
	atomic_compare_exchange_strong(&caught, &none, sig);
	if (write(atomic_load(&wake), &one, sizeof one) < 0) {
		/* it is full: whoever waits is awake */
	}
	errno = saved;
}

int cw_watch_signals(int eventfd, const int *signals, int count)
{
	struct sigaction a;
	memset(&a, 0, sizeof a);
	a.sa_handler = note;
	a.sa_flags = SA_ONSTACK | SA_RESTART; /* Go's threads have their own stack for signals */
	sigfillset(&a.sa_mask);
	atomic_store(&wake, eventfd);
	for (int i = 0; i < count; i++)
		if (sigaction(signals[i], &a, NULL))
			return errno;
	return 0;
}

int cw_caught_signal(void) { return atomic_load(&caught); }
