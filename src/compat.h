/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  What differs between PostgreSQL 15 and 19, in one place.
 *
 * src/compat.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_COMPAT_H
#define ROTATE_EXT_COMPAT_H

#include "storage/latch.h"
#include "utils/backend_status.h"
#include "utils/memutils.h"

/* A WaitEventSet that the caller frees; from 17 a resource owner could, and none is wanted. */
#if PG_VERSION_NUM >= 170000
#define compat_create_wait_event_set(nevents) CreateWaitEventSet(NULL, nevents)
#else
#define compat_create_wait_event_set(nevents) CreateWaitEventSet(CurrentMemoryContext, nevents)
#endif

/* The local copy of the backend status array, counted from 1. */
#if PG_VERSION_NUM >= 160000
#define compat_backend_status(index) (&pgstat_get_local_beentry_by_index(index)->backendStatus)
#else
#define compat_backend_status(index) (&pgstat_fetch_stat_local_beentry(index)->backendStatus)
#endif

/* What a post_parse_analyze_hook is told beside the query; from 19 it is to be left as it is. */
#if PG_VERSION_NUM >= 190000
#define CompatJumbleState const JumbleState
#else
#define CompatJumbleState JumbleState
#endif

/* 18 spells it as C11 does, before the declaration; here for those that come before. */
#if PG_VERSION_NUM < 180000
#define pg_noreturn pg_attribute_noreturn()
#endif

#endif /* ROTATE_EXT_COMPAT_H */
