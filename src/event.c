/*-------------------------------------------------------------------------
 *
 * event.c
 *	  rotate_event(): one step of a rotation that Secrets Manager has started.
 *
 * The Lambda function's only call.  The event is taken as Secrets Manager made
 * it; members that it does not have today are no error.  RotationToken lets its
 * bearer write the secret's value, so it is quoted nowhere, and a session that
 * would log it is warned.
 *
 * src/event.c
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/jsonb.h"

#include "api.h"
#include "worker.h"

PG_FUNCTION_INFO_V1(rotate_event);

/* Both spellings that AWS's documents use, and the name of the step here. */
static const struct
{
	const char *camel;
	const char *snake;
	RotationRequest step;
} steps[] = {
	{"createSecret", "create_secret", REQUEST_CREATE_SECRET},
	{"setSecret", "set_secret", REQUEST_SET_SECRET},
	{"testSecret", "test_secret", REQUEST_TEST_SECRET},
	{"finishSecret", "finish_secret", REQUEST_FINISH_SECRET},
};

/* A member of the event as a C string, or NULL where it is not there. */
static char *
get_member(Jsonb *event, const char *name, bool required)
{
	JsonbValue buffer;
	JsonbValue *value = getKeyJsonValueFromContainer(&event->root, name, strlen(name), &buffer);

	if (value == NULL && required)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid rotation event: member \"%s\" is missing", name)));
	if (value == NULL)
		return NULL;
	if (value->type != jbvString)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid rotation event: member \"%s\" is not a string", name)));
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* Copy a token into an order; its value is in no message. */
static void
copy_token(char *dst, const char *name, const char *value, size_t min, size_t max)
{
	if (strlen(value) < min || strlen(value) > max)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid rotation event: member \"%s\" has %zu characters", name, strlen(value)),
				 errdetail("It may have %zu to %zu.", min, max)));
	strcpy(dst, value);
}

static const char *
find_step(const char *name, RotationRequest *step)
{
	int i;

	for (i = 0; i < (int) lengthof(steps); i++)
	{
		if (strcmp(name, steps[i].camel) == 0 || strcmp(name, steps[i].snake) == 0)
		{
			*step = steps[i].step;
			return steps[i].camel;
		}
	}
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("invalid rotation event: member \"Step\" names no step of a rotation"),
					errhint("The steps are createSecret, setSecret, testSecret and finishSecret.")));
}

static bool
is_setting(const char *name, const char *value)
{
	const char *present = GetConfigOption(name, true, false);

	return present == NULL || strcmp(present, value) == 0;
}

/*
 * The event is a parameter of the statement: would this session's settings log
 * parameters?  A plan that was made for the parameter has it as a constant,
 * which auto_explain and debug_print_plan show; a generic plan has not.
 */
static void
warn_of_logging(void)
{
	const char *role = GetUserNameFromId(GetSessionUserId(), false);
	const char *setting = NULL;

	if (!is_setting("log_parameter_max_length", "0"))
		setting = "log_parameter_max_length = 0";
	else if (!is_setting("log_parameter_max_length_on_error", "0"))
		setting = "log_parameter_max_length_on_error = 0";
	else if (!is_setting("plan_cache_mode", "force_generic_plan"))
		setting = "plan_cache_mode = force_generic_plan";
	else if (!is_setting("pgaudit.log_parameter", "off"))
		setting = "pgaudit.log_parameter = off";
	else if (!is_setting("auto_explain.log_parameter_max_length", "0"))
		setting = "auto_explain.log_parameter_max_length = 0";
	if (setting != NULL)
		ereport(WARNING, (errcode(ERRCODE_WARNING), errmsg("the RotationToken of this event could be logged"),
						  errhint("Use ALTER ROLE %s SET %s.", quote_identifier(role), setting)));
}

static Datum
make_answer(const char *step, const RotationResult *result)
{
	StringInfoData json;

	initStringInfo(&json);
	appendStringInfo(&json, "{\"step\": \"%s\", \"outcome\": \"%s\", \"secret\": ", step, result->outcome);
	escape_json(&json, result->secret);
	appendStringInfoString(&json, ", \"role\": ");
	escape_json(&json, result->role);
	if (result->lockout_us >= 0)
		appendStringInfo(&json, ", \"lockout_ms\": %.3f", result->lockout_us / 1000.0);
	appendStringInfo(&json, ", \"total_ms\": %.3f}", result->total_us / 1000.0);
	return DirectFunctionCall1(jsonb_in, CStringGetDatum(json.data));
}

Datum
rotate_event(PG_FUNCTION_ARGS)
{
	Jsonb *event = PG_GETARG_JSONB_P(0);
	RotationOrder order;
	RotationResult *result;
	const char *step;
	char *rotation_token;

	api_check_writable("rotate_event");
	api_check_nothing_written("rotate_event");
	if (!JB_ROOT_IS_OBJECT(event))
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid rotation event: it is not a JSON object")));

	api_begin_order(&order, OPERATION_EVENT);
	step = find_step(get_member(event, "Step", true), &order.step);
	api_copy_secret(order.secret, get_member(event, "SecretId", true));
	copy_token(order.token, "ClientRequestToken", get_member(event, "ClientRequestToken", true),
			   CLIENT_REQUEST_TOKEN_MIN, CLIENT_REQUEST_TOKEN_MAX);
	rotation_token = get_member(event, "RotationToken", false);
	if (rotation_token != NULL)
	{
		copy_token(order.rotation_token, "RotationToken", rotation_token, ROTATION_TOKEN_MIN,
				   ROTATION_TOKEN_MAX);
		explicit_bzero(rotation_token, strlen(rotation_token));
		warn_of_logging();
	}

	result = worker_perform(&order, api_find_turn(&order));
	explicit_bzero(&order, sizeof(order));
	PG_RETURN_DATUM(make_answer(step, result));
}
