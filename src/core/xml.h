/*-------------------------------------------------------------------------
 *
 * xml.h
 *	  Reads single elements out of a small XML document, as STS answers.
 *
 * STS's Query protocol knows no answer but XML, of which we need six
 * elements that hold text.  For those a scanner that refuses what it does not
 * know is less to trust than an XML library: it has no entities but the five of XML
 * itself and characters by number, no DTD, no CDATA section, no includes, and no
 * memory of its own.
 *
 * Pure C11.
 *
 * src/core/xml.h
 *
 *-------------------------------------------------------------------------
 */
#ifndef ROTATE_EXT_XML_H
#define ROTATE_EXT_XML_H

#include <stddef.h>

#define XML_MAX_DEPTH 16

typedef enum XmlStatus
{
	XML_FOUND,
	XML_ABSENT,
	XML_MALFORMED, /* or more than this scanner knows */
	XML_TOO_LONG   /* for the buffer */
} XmlStatus;

/*
 * The text of the first element at the path, such as "ErrorResponse/Error/Code", names
 * being compared without their namespace prefix.  It may hold no elements, and
 * comes back with its entities decoded (to UTF-8; other bytes are as they were),
 * without blanks at both ends, and NUL-terminated.  The whole document is checked each time.  Where the status
 * is another than XML_FOUND, the buffer is wiped.
 */
extern XmlStatus xml_get(const char *text, size_t length, const char *path, char *value, size_t size);

#endif /* ROTATE_EXT_XML_H */
