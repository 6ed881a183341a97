/*-------------------------------------------------------------------------
 *
 * store_spi.h
 *	  How statements on the extension's tables are run: between the store's
 *	  own files.
 *
 * src/db/store_spi.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_STORE_SPI_H
#define ROTATE_EXT_STORE_SPI_H

/* The parameters of one statement. */
typedef struct StoreArgs
{
	int n;
	Oid types[20];
	Datum values[20];
	char nulls[20];
} StoreArgs;

/* What store_begin() changed, to be put back by store_finish(). */
typedef struct StoreScope
{
	MemoryContext caller;
	Oid userid;
	int sec_context;
	int guc_level;
	const char *schema; /* quoted */
} StoreScope;

/* Append a parameter; NULL, InvalidOid and isnull are SQL's null. */
extern void store_add_text(StoreArgs *args, const char *value);
extern void store_add_oid(StoreArgs *args, Oid value);
extern void store_add_int4(StoreArgs *args, int value);
extern void store_add_int8(StoreArgs *args, int64 value, bool isnull);
extern void store_add_bool(StoreArgs *args, bool value);
extern void store_add_timestamptz(StoreArgs *args, TimestampTz value, bool isnull);
extern void store_add_hash(StoreArgs *args, const uint8 *hash);

/*
 * Become the bootstrap superuser with a search_path that nobody else can put
 * objects into, and connect to SPI.  An error in between is undone by the
 * transaction's abort.
 */
extern void store_begin(StoreScope *scope);
extern void store_finish(StoreScope *scope);

/*
 * Run one statement, %s in it being the schema, and check that it was of the
 * kind expected.  Returns the number of rows.
 */
extern uint64 store_execute(const StoreScope *scope, const char *format, StoreArgs *args, int expected);

/* A column, from 1, of a row, from 0: as text in the caller's context, or NULL; as a Datum, 0 where it is null. */
extern char *store_text(const StoreScope *scope, uint64 row, int column);
extern Datum store_datum(uint64 row, int column);

#endif /* ROTATE_EXT_STORE_SPI_H */
