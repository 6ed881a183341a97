/*-------------------------------------------------------------------------
 *
 * words.h
 *	  Splits a command line into words, as Python's shlex.split() does, which
 *	  is how botocore reads credential_process.
 *
 * Quotes and backslashes as in a shell; nothing else of a shell: no variables,
 * no patterns, no pipes, no comments.
 *
 * Pure C11.
 *
 * src/core/words.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_WORDS_H
#define ROTATE_EXT_WORDS_H

/*
 * words[] gets up to max pointers into buffer, which must hold as many bytes
 * as line, its NUL included, and lives as long as they do.  Returns how many
 * there are; -1: a quote is not closed, or a backslash is the last character;
 * -2: more than max.
 */
extern int words_split(const char *line, char *buffer, char **words, int max);

#endif /* ROTATE_EXT_WORDS_H */
