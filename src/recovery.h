/*-------------------------------------------------------------------------
 *
 * recovery.h
 *	  Which registered secrets are to be looked at, and when.
 *
 * src/recovery.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_RECOVERY_H
#define ROTATE_EXT_RECOVERY_H

#include "rotation.h"

/* result->outcome of a list that was not made. */
#define RECOVERY_NO_EXTENSION "no extension"
#define RECOVERY_OTHER_VERSION "other version"

/*
 * Fill result->due with the secrets of this cluster that are due at some time:
 * those without a look since order->since, those whose latest run was
 * interrupted, and those to be tried again; what is due first comes first.  In a
 * worker, outside any transaction; palloc'd in the current memory context.
 */
extern void recovery_list_due(const RotationOrder *order, RotationResult *result);

#endif /* ROTATE_EXT_RECOVERY_H */
