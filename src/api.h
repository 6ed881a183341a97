/*-------------------------------------------------------------------------
 *
 * api.h
 *	  What the SQL functions share: api.c and event.c.
 *
 * src/api.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_API_H
#define ROTATE_EXT_API_H

#include "rotation.h"

/* Raise ERRCODE_READ_ONLY_SQL_TRANSACTION on a standby, and in a read-only transaction. */
extern void api_check_writable(const char *function);

/* Raise ERRCODE_ACTIVE_SQL_TRANSACTION in a transaction that has already written. */
extern void api_check_nothing_written(const char *function);

/* Check a secret's name or ARN and copy it to where an order holds it; raises ERRCODE_INVALID_PARAMETER_VALUE. */
extern void api_copy_secret(char *dst, const char *secret);

/* An order of this session's user, with the defaults of a registration. */
extern void api_begin_order(RotationOrder *order, RotationOperation operation);

/*
 * The role whose turn is to be waited for.  InvalidOid where the secret is
 * not registered and order->may_register was set, since a superuser asks for a
 * rotation; otherwise raises ERRCODE_UNDEFINED_OBJECT there.
 */
extern Oid api_find_turn(RotationOrder *order);

#endif /* ROTATE_EXT_API_H */
