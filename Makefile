# rotate_ext: rotates role passwords kept in AWS Secrets Manager
#
#   make                  build
#   make install          into the PostgreSQL of PG_CONFIG
#   make installcheck     pg_regress against a running server (as a superuser)
#   script/test           everything, on servers of its own

MODULE_big = rotate_ext
EXTENSION = rotate_ext
DATA = rotate_ext--1.0.sql
PGFILEDESC = "rotate_ext - rotates role passwords kept in AWS Secrets Manager"

OBJS = rotate_ext.o \
	$(patsubst %.c,%.o,$(sort $(wildcard src/core/*.c src/aws/*.c src/db/*.c src/*.c)))

REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))

PG_CONFIG ?= pg_config
PKG_CONFIG ?= pkg-config

# Say what is missing before the compiler does.  Cleaning needs none of it.
ifeq ($(filter clean distclean maintainer-clean,$(MAKECMDGOALS)),)

pg_version := $(shell $(PG_CONFIG) --version 2>/dev/null | sed -nE 's/^PostgreSQL ([0-9]+).*/\1/p')
ifeq ($(pg_version),)
$(error PostgreSQL's pg_config was not found as "$(PG_CONFIG)"; install the server's development package (Debian: postgresql-server-dev-15, RHEL: postgresql15-devel) or set PG_CONFIG)
endif
ifneq ($(shell test $(pg_version) -ge 15 && echo yes),yes)
$(error rotate_ext needs PostgreSQL 15 or later, and $(PG_CONFIG) is of PostgreSQL $(pg_version))
endif
ifeq ($(wildcard $(shell $(PG_CONFIG) --pgxs)),)
$(error PostgreSQL's server headers (PGXS) are missing; install the server's development package (Debian: postgresql-server-dev-$(pg_version), RHEL: postgresql$(pg_version)-devel))
endif
ifeq ($(shell command -v $(PKG_CONFIG)),)
$(error pkg-config is missing)
endif

# package, lowest version, Debian package, RHEL package
define need
ifneq ($$(shell $(PKG_CONFIG) --exists '$(1) >= $(2)' && echo yes),yes)
$$(error rotate_ext needs $(1) $(2) or later, found $$(or $$(shell $(PKG_CONFIG) --modversion $(1) 2>/dev/null),none); install its development package (Debian: $(3), RHEL: $(4)))
endif
endef
$(eval $(call need,libcurl,7.61.0,libcurl4-openssl-dev,libcurl-devel))
$(eval $(call need,libcrypto,1.1.1,libssl-dev,openssl-devel))
$(eval $(call need,jansson,2.11,libjansson-dev,jansson-devel))
endif

PG_CPPFLAGS = -I$(srcdir)/src -I$(libpq_srcdir) $(shell $(PKG_CONFIG) --cflags libcurl libssl libcrypto jansson)
SHLIB_LINK = $(libpq) $(shell $(PKG_CONFIG) --libs libcurl libssl libcrypto jansson)

# the version of the extension's objects that the library is for
PG_CPPFLAGS += -DROTATE_EXT_VERSION='"$(shell sed -n "s/^default_version = '\(.*\)'$$/\1/p" $(srcdir)/rotate_ext.control)"'

# warnings that PostgreSQL's own flags leave out; CI adds -Werror
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers

PGXS := $(shell $(PG_CONFIG) --pgxs)
srcdir ?= .
include $(PGXS)

# every object depends on every header: the project is small
$(OBJS): $(wildcard $(srcdir)/src/*.h $(srcdir)/src/*/*.h)
