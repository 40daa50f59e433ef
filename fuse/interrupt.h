// SPDX-License-Identifier: LGPL-2.1-or-later
/*
 * Requests of processes that are being killed. Whoever waits for a request that
 * we have cannot die before it is answered; so it is answered with EINTR at once,
 * though its work goes on. The process never sees the EINTR: a signal that it
 * handles, or ignores, changes nothing here.
 *
 * Such an early answer lets the kernel forget inodes that the work still uses:
 * forgets have to wait for interrupts_await.
 */
#ifndef ENCSAN_INTERRUPT_H
#define ENCSAN_INTERRUPT_H

#define FUSE_USE_VERSION 314
#include <stdbool.h>
#include <fuse_lowlevel.h>

struct interrupts;

struct interruptible { /* a request, from its entering to its leaving; interrupt.c's */
    fuse_req_t req;
    enum { INTERRUPT_RUNNING, INTERRUPT_DOUBTFUL, INTERRUPT_ANSWERED } state;
    bool resting;
};

/* NULL: no thread can start. Nothing is answered early then: all functions take NULL. */
struct interrupts *interrupts_new(void);
/* Every request that was entered has left. */
void interrupts_free(struct interrupts *interrupts);

/* By FUSE's threads, before anybody else has the request. `r` stays where it is until it leaves. */
void interrupts_enter(struct interrupts *interrupts, struct interruptible *r, fuse_req_t req);
/* The work is done. True: the caller answers now. False: it has been answered,
 * and its req must not be used any more. */
bool interrupts_leave(struct interrupts *interrupts, struct interruptible *r);
/* The work waits for forgets itself, and uses nothing meanwhile. Afterwards
 * false: the request has been answered, and what it used may be gone. */
void interrupts_rest(struct interrupts *interrupts, struct interruptible *r);
bool interrupts_go_on(struct interrupts *interrupts, struct interruptible *r);
/* Waits until the work of no request goes on that has been answered. */
void interrupts_await(struct interrupts *interrupts);

#endif
