"""`make mutants`: take each guard out in turn, in a copy of the tree, and see that its test fails.

`python tests/mutants.py [TEXT ...]` takes those whose names contain one of the texts.

A mutation must match its file exactly once, so that one which no longer applies is an error, not a success.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGES = ("libs/common", *(f"services/{name}" for name in ("gateway", "runner", "vault", "analytics")))
CLIENT = "libs/client"
EMBEDDED = "deploy/embedded"
TESTS_FAILED = 1
"""pytest's exit code. 2 to 5 are errors of collection, of usage, or "no tests": none of them kills a mutant."""

COMMON_TESTS = "libs/common/tests"
GATEWAY_TESTS = "services/gateway/tests"
RUNNER_TESTS = "services/runner/tests"
CLIENT_TESTS = "libs/client/tests"
ANALYTICS_TESTS = "services/analytics/tests"
VAULT_TESTS = "services/vault/tests"
BATCH_TESTS = "services/gateway/tests/batches"


class Mutant(NamedTuple):
    """What is removed, where and how, and which test must notice."""

    name: str
    file: str
    old: str
    new: str
    test: str


MUTANTS = (
    Mutant(
        "errors by their codes alone",
        "libs/common/common/telemetry.py",
        "record_exception=False,",
        "record_exception=True,",
        f"{COMMON_TESTS}/test_telemetry.py::test_a_failure_is_told_by_its_code_alone",
    ),
    Mutant(
        "a key sent as a model's name",
        "libs/common/common/telemetry.py",
        "MODEL: SECRETS.redacted(model)}",
        "MODEL: model}",
        f"{COMMON_TESTS}/test_telemetry.py::test_a_key_sent_as_a_model_is_hidden",
    ),
    Mutant(
        "the end of waiting for a collector",
        "libs/common/common/telemetry.py",
        "flushing.join, LAST_EXPORT_SECONDS)",
        "flushing.join)",
        f"{COMMON_TESTS}/test_telemetry.py::test_a_collector_that_does_not_answer_holds_up_no_end",
    ),
    Mutant(
        "a route's template for its path",
        "libs/common/common/observed.py",
        'return getattr(scope.get("route"), "path", NO_ROUTE)',
        'return str(scope["path"])',
        f"{COMMON_TESTS}/test_observed.py::test_a_request_is_counted_by_its_route",
    ),
    Mutant(
        "the most models with a series",
        "services/runner/runner/metrics.py",
        "if answered and len(self._known) < self._most:",
        "if answered:",
        f"{RUNNER_TESTS}/test_metrics.py::test_a_model_has_a_series_once_it_has_answered_and_there_are_so_many_at_most",
    ),
    Mutant(
        "a hand-over that was not heard of is looked for",
        "services/gateway/gateway/batches/carry.py",
        "        if told.error is None or told.unknown:\n",
        "        if told.error is None:\n",
        f"{BATCH_TESTS}/test_carry.py::test_what_may_have_been_handed_over_is_looked_for_and_not_handed_over_again",
    ),
    Mutant(
        "only what is certainly not there is handed over again",
        "services/gateway/gateway/batches/carry.py",
        "        if overdue and told.standing.certain:\n",
        "        if overdue:\n",
        f"{BATCH_TESTS}/test_carry.py::test_only_what_surely_was_not_handed_over_is_once_its_order_cannot_be_under_way",
    ),
    Mutant(
        "a row collected twice is one execution",
        "services/runner/runner/rows.py",
        '            execution_id=named_run_id("collected", str(order.part.id), str(row.run_id)),\n',
        '            execution_id=named_run_id("collected", str(run.run_id), str(row.run_id)),\n',
        f"{RUNNER_TESTS}/test_orders.py::test_a_part_collected_twice_is_the_same_to_the_byte",
    ),
    Mutant(
        "a 5xx does not say that no batch was made",
        "services/runner/runner/providers/batching.py",
        "    known = failed.outcome_known and (failed.status_code or 0) < 500\n",
        "    known = failed.outcome_known\n",
        f"{RUNNER_TESTS}/test_orders.py::test_a_server_error_says_nothing_about_whether_a_batch_was_made",
    ),
    Mutant(
        "the session's origin",
        "services/gateway/gateway/tokens.py",
        "            check_origin(request)\n",
        "            assert request.method\n",
        f"{GATEWAY_TESTS}/test_sessions.py::test_nothing_is_changed_from_elsewhere",
    ),
    Mutant(
        "the port in the origin",
        "services/gateway/gateway/cookies.py",
        'origin.partition("://")[2] == request.headers.get("host")',
        'origin.split(":")[1] == "//" + request.headers.get("host", "").partition(":")[0]',
        f"{GATEWAY_TESTS}/test_sessions.py::test_nothing_is_changed_from_elsewhere",
    ),
    Mutant(
        "the session's end",
        "libs/common/common/identity.py",
        "        if time.time() >= expires_at:\n",
        "        if expires_at < 0:\n",
        f"{GATEWAY_TESTS}/test_sessions.py::test_it_ends_after_its_time",
    ),
    Mutant(
        "the first execution in a list",
        "services/analytics/analytics/queries/run_page.sql",
        "(1 - finished, place)) AS first",
        "(1 - finished, -place.1)) AS first",
        f"{ANALYTICS_TESTS}/test_listing.py::test_each_figure_counts_the_runs_that_are_listed_for_it",
    ),
    Mutant(
        "the journal read",
        "services/runner/runner/lane.py",
        "        self._past = await self._read_journal(oldest)\n",
        "        self._past = Past()\n",
        f"{RUNNER_TESTS}/test_delivery.py::test_what_the_journal_shows_as_ended_is_not_called_again",
    ),
    Mutant(
        "the journal since the oldest",
        "services/runner/runner/lane.py",
        "        self._oldest = self._oldest or record\n",
        "        self._oldest = record\n",
        f"{RUNNER_TESTS}/test_lane.py::test_the_journal_is_read_since_the_oldest_record_even_if_that_one_was_parked",
    ),
    Mutant(
        "the handover",
        "services/runner/runner/app.py",
        "            await self._handovers.hand_over(calling, self._call_seconds)\n",
        "            assert calling is not None\n",
        f"{RUNNER_TESTS}/test_rolling.py::test_runners_come_and_go_and_no_call_is_made_again",
    ),
    Mutant(
        "the drain",
        "services/runner/runner/app.py",
        "await self._dispatcher.drain(self._settings.drain_seconds)",
        "await self._dispatcher.drain(0)",
        f"{RUNNER_TESTS}/test_delivery.py::test_calls_that_run_are_finished_before_the_runner_leaves",
    ),
    Mutant(
        "the look at cancelled batches before a call",
        "services/runner/runner/execute.py",
        "        if self._cancelled.include(run):\n",
        "        if self._cancelled.include(run) and not run.batch_id:\n",
        f"{RUNNER_TESTS}/test_cancelled.py::test_within_a_second_of_the_cancellation_no_call_starts",
    ),
    Mutant(
        "cancelled batches from the beginning",
        "services/runner/runner/cancelled.py",
        ", whole=True)",
        ")",
        f"{RUNNER_TESTS}/test_cancelled.py"
        "::test_what_was_cancelled_before_a_runner_starts_is_known_before_its_first_call",
    ),
    Mutant(
        "a batch's rows up to what is stored",
        "services/analytics/analytics/queries/batch_rows.sql",
        " AND first < {stored:Array(UInt64)}[log_partition + 1]\n",
        "\n",
        f"{ANALYTICS_TESTS}/test_batches.py::test_what_is_not_known_to_be_stored_waits_for_the_next_look",
    ),
    Mutant(
        "an execution's first place alone",
        "services/analytics/analytics/queries/batch_rows.sql",
        "            GROUP BY log_partition, execution_id\n",
        "            GROUP BY log_partition, execution_id, log_offset\n",
        f"{ANALYTICS_TESTS}/test_batches.py::test_an_execution_that_was_appended_twice_is_one_row_for_every_reader",
    ),
    Mutant(
        "reply topics of the workspace alone",
        "libs/common/common/admission.py",
        '    return f"reply_to.topic: it must be {own}, or begin with that and a dot"\n',
        "    return None\n",
        "libs/common/tests/test_admission.py::test_no_reply_goes_into_topics_of_others",
    ),
    Mutant(
        "dirty before commit",
        "services/analytics/analytics/consumer.py",
        "            for refused in await self._stored(records):\n"
        "                await self._set_aside(refused)\n"
        "            await _commit(consumer, records)\n",
        "            await _commit(consumer, records)\n"
        "            for refused in await self._stored(records):\n"
        "                await self._set_aside(refused)\n",
        f"{ANALYTICS_TESTS}/test_consumer.py::test_while_the_database_is_away_it_waits_and_loses_nothing",
    ),
    Mutant(
        "finishing a repricing that was killed",
        "services/analytics/analytics/reprice.py",
        '        for row in await self._database.rows("reprice_unfinished", workspaces=list(workspaces)):\n',
        "        for row in ():\n",
        f"{ANALYTICS_TESTS}/test_reprice.py::test_killed_in_the_middle_and_started_again_it_ends_exact",
    ),
    Mutant(
        "a discount off the recorded price, not off another discount",
        "services/analytics/analytics/prices.py",
        """    return _cost(row, "recorded_" if row["is_repriced"] else "")\n""",
        """    return _cost(row, "")\n""",
        f"{ANALYTICS_TESTS}/test_reprice.py::test_what_was_recorded_comes_back",
    ),
    Mutant(
        "the hours that are marked after a repricing",
        "services/analytics/analytics/reprice.py",
        'STEPS = ("reprice_batch_runs", "reprice_runs", "reprice_marks", "reprice_done")\n',
        'STEPS = ("reprice_batch_runs", "reprice_runs", "reprice_done")\n',
        f"{ANALYTICS_TESTS}/test_reprice.py::test_it_is_applied_once_with_the_old_figure_kept",
    ),
    Mutant(
        "texts for members alone",
        "services/gateway/gateway/routes/export.py",
        '"member" if asked.texts else "viewer"',
        '"viewer"',
        f"{GATEWAY_TESTS}/test_export.py::test_viewers_export_figures_and_no_texts",
    ),
    Mutant(
        "an export's charges in every range of hashes",
        "services/analytics/analytics/exports.py",
        "    edges = [(LAST_PLACE + 1) * n // count for n in range(count + 1)]\n",
        "    edges = [LAST_PLACE * n // count for n in range(count + 1)]\n",
        f"{ANALYTICS_TESTS}/test_export.py::test_shares_of_all_hashes_leave_none_out",
    ),
    Mutant(
        "the announcement of an outcome",
        "services/analytics/analytics/outcomes.py",
        "        await self._announce(hour, announcement)\n",
        "",
        f"{ANALYTICS_TESTS}/test_outcomes.py::test_killed_between_any_two_steps_it_is_counted_if_it_is_stored",
    ),
    Mutant(
        "marks of a time to come",
        "services/analytics/analytics/sealer.py",
        "[mark for mark in of_hour if mark.fresh or mark.marked_at <= now]",
        "of_hour",
        f"{ANALYTICS_TESTS}/test_outcomes.py::test_an_hour_that_is_counted_while_an_outcome_is_stored_is_counted_again",
    ),
    Mutant(
        "marks of acceptances",
        "services/analytics/analytics/ingest.py",
        "[*batch.completed, *batch.accepted]",
        "batch.completed",
        f"{ANALYTICS_TESTS}/test_completeness.py::test_a_run_is_in_flight_until_it_ends",
    ),
    Mutant(
        "version before read",
        "services/analytics/analytics/sealer.py",
        "        await self._database.execute(query, version=self._version, **parameters)\n",
        "        late = {'__int__': lambda _: time.time_ns(), '__str__': lambda _: str(time.time_ns())}\n"
        "        later = type('Later', (), late)()\n"
        "        await self._database.execute(query, version=later, **parameters)\n",
        f"{ANALYTICS_TESTS}/test_sealer.py::test_a_seal_that_writes_late_does_not_overwrite_a_newer_one",
    ),
    Mutant(
        "the lock on a chain's head",
        "services/vault/vault/store/audit.py",
        '.where(_HEADS.c.chain == bindparam("chain")).with_for_update()',
        '.where(_HEADS.c.chain == bindparam("chain"))',
        f"{VAULT_TESTS}/test_audit_service.py::test_concurrent_leases_leave_chains_that_verify",
    ),
    Mutant(
        "published heads",
        "services/vault/vault/verify.py",
        "            if there.get(place) != mac:\n",
        "            if not there and mac is None:\n",
        f"{VAULT_TESTS}/test_audit.py::test_what_was_done_to_the_audit_is_found",
    ),
    Mutant(
        "no audit, no reveal",
        "services/vault/vault/leases.py",
        "            await transaction.audit(_entry(request, actor, grant, decision))\n",
        "            if isinstance(decision, Allowed):\n                return await self._opened(decision)\n",
        f"{VAULT_TESTS}/test_leases.py::test_without_an_audit_row_nothing_is_opened",
    ),
    Mutant(
        "publish_by",
        "libs/common/common/admission.py",
        "        return NeverAccepted() if appended_at > request.publish_by else Admitted(request, grant, token)\n",
        "        return Admitted(request, grant, token)\n",
        "libs/common/tests/test_admission.py::test_appended_after_publish_by_was_never_accepted",
    ),
    Mutant(
        "the key commitment",
        "services/vault/vault/envelope.py",
        "    if not hmac.compare_digest(derive(data_key, COMMITMENT), body[:_COMMITMENT]):\n",
        "    if not hmac.compare_digest(data_key, data_key):\n",
        f"{VAULT_TESTS}/test_envelope.py"
        "::test_a_body_that_two_keys_decrypt_opens_under_the_one_alone_that_it_is_committed_to",
    ),
    Mutant(
        "the version in the wrap",
        "services/vault/vault/envelope.py",
        '        return self.encode() + _behind_its_length(kek_version.to_bytes(2, "big"))\n',
        "        return self.encode() + _behind_its_length(bytes(2))\n",
        f"{VAULT_TESTS}/test_keyring.py"
        "::test_a_wrap_says_the_version_it_was_made_under_even_where_two_versions_have_one_key",
    ),
    Mutant(
        "compare and swap",
        "services/vault/vault/store/keyring.py",
        "update(VERSIONS).where(same & (VERSIONS.c.sealed == given.c.old))",
        "update(VERSIONS).where(same)",
        f"{VAULT_TESTS}/test_rewrap.py::test_an_envelope_that_changed_since_it_was_read_is_left_alone",
    ),
    Mutant(
        "sealing locks the primary",
        "services/vault/vault/store/keyring.py",
        "select(KEKS.c.version).where(IS_PRIMARY).with_for_update(read=True)",
        "select(KEKS.c.version).where(IS_PRIMARY)",
        f"{VAULT_TESTS}/test_kek_versions.py"
        "::test_while_something_is_being_sealed_its_version_is_neither_replaced_nor_retired",
    ),
    Mutant(
        "the pinned algorithm",
        "libs/common/common/identity.py",
        "            decoded = jwt.decode(token, self._key, algorithms=[ALGORITHM])\n",
        "            from joserfc import jws\n"
        "            part = jws.extract_compact(token.encode())\n"
        "            if part.headers()['alg'] == ALGORITHM:\n"
        "                decoded = jwt.decode(token, self._key, algorithms=[ALGORITHM])\n"
        "            else:\n"
        "                import json\n"
        "                decoded = jwt.Token(part.headers(), json.loads(part.payload))\n",
        f"{VAULT_TESTS}/test_authorisation.py",
    ),
    Mutant(
        "the audience",
        "libs/common/common/identity.py",
        '        if claims.get("aud") != audience:\n',
        "        if audience is None:\n",
        f"{VAULT_TESTS}/test_authorisation.py",
    ),
    Mutant(
        "the grant's operations",
        "services/vault/vault/leases.py",
        "    if request.operation not in grant.operations:\n",
        "    if request.operation is None:\n",
        f"{VAULT_TESTS}/test_authorisation.py",
    ),
    Mutant(
        "the vault's memory of revoked grants",
        "services/vault/vault/leases.py",
        "    if await transaction.revoked(grant.grant_id) if key is None else key.grant_revoked:\n",
        "    if grant.grant_id is None:\n",
        f"{VAULT_TESTS}/test_revocation.py",
    ),
    Mutant(
        "the runner's memory of revoked grants",
        "services/runner/runner/leases.py",
        "        if grant_id in self._revoked:\n",
        "        if grant_id is None:\n",
        f"{RUNNER_TESTS}/test_leases.py::test_a_lease_that_a_revocation_overtook_is_not_used",
    ),
    Mutant(
        "the token before the body",
        "libs/common/common/callers.py",
        "                    await admit(request, service)\n                    return await handler(request)\n",
        "                    answer = await handler(request)\n                    await admit(request, service)\n"
        "                    return answer\n",
        f"{VAULT_TESTS}/test_door.py::test_the_token_comes_before_the_body",
    ),
    Mutant(
        "the log without keys",
        "libs/common/common/logs.py",
        "        return SECRETS.redacted(super().format(record))\n",
        "        return super().format(record)\n",
        "libs/common/tests/test_redaction.py::test_a_key_that_passed_by_is_in_no_part_of_a_record",
    ),
    Mutant(
        "the fence of a lease",
        "services/gateway/gateway/batches/sending.py",
        "        until = min(self.requests.publish_by(), lease_ends)\n",
        "        until = self.requests.publish_by() if lease_ends else 0\n",
        f"{BATCH_TESTS}/test_ownership.py::test_a_zombie_publishes_nothing_that_counts",
    ),
    Mutant(
        "waiting for what the dead owner sent",
        "services/gateway/gateway/batches/truth.py",
        "> self._lease.owned_until + MARGIN_MS",
        ">= 0",
        f"{BATCH_TESTS}/test_ownership.py::test_what_the_dead_owner_sent_is_waited_for",
    ),
    Mutant(
        "the rows under way at a crash",
        "services/gateway/gateway/batches/truth.py",
        "            self._course.accepted(run.run_id, run.custom_id)\n",
        "            assert run\n",
        f"{BATCH_TESTS}/test_ownership.py::test_runs_under_way_at_the_crash_are_waited_for",
    ),
    Mutant(
        "what in-flight rows may cost",
        "services/gateway/gateway/batches/budget.py",
        "        self._weight += self._reserved[row]\n",
        "        assert self._reserved\n",
        f"{BATCH_TESTS}/test_limits.py::TestSpending::runTest",
    ),
    Mutant(
        "an execution that a reply told of",
        "services/gateway/gateway/batches/budget.py",
        "        known, weight = self._told.pop(execution, (0, 0))\n",
        "        known, weight = self._told.pop(execution, (0, 0)) and (0, 0)\n",
        f"{BATCH_TESTS}/test_limits.py::TestSpending::runTest",
    ),
    Mutant(
        "a round that ended is over",
        "services/gateway/gateway/batches/states.py",
        "        if number < self._rounds[row] or self._states[row] >= RowState.SUCCEEDED:\n",
        "        if self._states[row] >= RowState.SUCCEEDED:\n",
        f"{BATCH_TESTS}/test_limits.py::TestFeeding::runTest",
    ),
    Mutant(
        "the gap in a stream",
        "services/gateway/gateway/online.py",
        "        if delta.first > self._next:\n",
        "        if delta.first > self._next + len(delta.events):\n",
        f"{GATEWAY_TESTS}/test_online.py::test_a_piece_that_is_lost_is_an_error",
    ),
    Mutant(
        "the last piece of a stream",
        "services/gateway/gateway/online.py",
        "        if self._next and not self._whole:\n",
        "        if self._next and self._next < 0:\n",
        f"{GATEWAY_TESTS}/test_online.py::test_a_piece_that_is_lost_is_an_error",
    ),
    Mutant(
        "the call that a piece is of",
        "services/gateway/gateway/online.py",
        "        if delta.call_id != self._call_id:\n",
        "        if delta.call_id == delta.run_id:\n",
        f"{GATEWAY_TESTS}/test_online.py::test_a_piece_that_is_lost_is_an_error",
    ),
    Mutant(
        "usage is for who asked",
        "services/gateway/gateway/translate/chat_stream.py",
        '        chunk.pop("usage", None)\n',
        "",
        f"{GATEWAY_TESTS}/test_online.py::test_a_stream",
    ),
    Mutant(
        "what is left over",
        "services/gateway/gateway/translate/to_message.py",
        "    fields.finish()\n    return message\n",
        "    return message\n",
        f"{GATEWAY_TESTS}/test_translate.py::test_a_field_without_a_counterpart_is_named",
    ),
    Mutant(
        "errors by path, before routing",
        "libs/common/common/http.py",
        "            return await self._answer(scope, _over(limit))(scope, receive, send)\n",
        "            return await error_response(_over(limit))(scope, receive, send)\n",
        f"{GATEWAY_TESTS}/test_compatible.py::test_errors_before_and_by_routing",
    ),
    Mutant(
        "no second beginning",
        "services/runner/runner/execute.py",
        "        if progress.told or (",
        "        if (",
        f"{RUNNER_TESTS}/test_execute.py::test_a_stream_that_breaks_off_is_not_tried_again",
    ),
    Mutant(
        "the end of a stream",
        "services/runner/runner/providers/stream.py",
        "    if is_stream(response) and not assembly.done:\n",
        "    if not is_stream(response) and not assembly.done and heard is None:\n",
        f"{RUNNER_TESTS}/test_execute.py::test_a_stream_that_breaks_off_is_not_tried_again",
    ),
    Mutant(
        "usage is always asked for",
        "services/runner/runner/providers/openai.py",
        "_with_usage(body), callee",
        "body, callee",
        f"{RUNNER_TESTS}/test_execute.py::test_a_streamed_answer_is_the_same_in_the_end",
    ),
    Mutant(
        "the key in an event",
        "services/runner/runner/providers/stream.py",
        "            self._hearing.heard(self._callee.hide(data))\n",
        "            self._hearing.heard(data)\n",
        f"{RUNNER_TESTS}/test_providers.py::test_a_stream_hides_the_key",
    ),
    Mutant(
        "a token stays with its address",
        "libs/client/tallyrun/credentials.py",
        "if not secret and where == stored.url:",
        "if not secret:",
        f"{CLIENT_TESTS}/test_command.py::test_a_token_is_kept_for_its_address_alone",
    ),
    Mutant(
        "the look for the batch that exists",
        "libs/client/tallyrun/flows.py",
        "    if standing := _standing(before):\n        return Submitted(standing, attached=True)\n",
        "",
        f"{CLIENT_TESTS}/test_client.py::test_the_same_rows_attach_to_the_batch_that_exists",
    ),
    Mutant(
        "each row once in the file",
        "libs/client/tallyrun/command/outfile.py",
        "if result.custom_id not in there:",
        "if result:",
        f"{CLIENT_TESTS}/test_command.py::test_the_file_of_a_killed_run_is_completed_each_row_once",
    ),
    Mutant(
        "the turn of migrators",
        "libs/common/common/schema/__init__.py",
        "        while not await connection.scalar(select(func.pg_try_advisory_lock(lock))):\n",
        "        while await connection.scalar(select(lock)) is None:\n",
        "libs/common/tests/test_schema.py::test_of_migrators_that_start_together_one_migrates_and_none_fails",
    ),
    Mutant(
        "whom a schema serves",
        "libs/common/common/schema/__init__.py",
        "        if found.oldest_served > self.head:\n",
        "        if found.oldest_served is None:\n",
        "libs/common/tests/test_schema.py::test_newer_tables_are_good_for_the_versions_that_they_serve",
    ),
    Mutant(
        "the turn of ClickHouse's migrators",
        "services/analytics/analytics/schema.py",
        '    while not engine.attempt("take_turn"):\n',
        '    while engine.attempt("take_turn") is None:\n',
        f"{ANALYTICS_TESTS}/test_migrations.py::test_a_migrator_that_is_gone_is_waited_for_and_then_replaced",
    ),
    Mutant(
        "the bottom of a workspace's bucket",
        "services/gateway/gateway/store/limits.py",
        "func.least(float(asked), func.floor(there - kept))",
        "func.least(float(asked), asked + kept)",
        f"{GATEWAY_TESTS}/test_limits.py::test_replicas_share_one_bucket_exactly",
    ),
    Mutant(
        "the callers' part of a bucket",
        "services/gateway/gateway/quota/rate.py",
        "limits.burst * KEPT_FOR_CALLERS",
        "limits.burst * 0.0",
        f"{GATEWAY_TESTS}/test_limits.py::test_batches_leave_callers_half_of_the_burst",
    ),
    Mutant(
        "the last look at what a workspace keeps",
        "services/gateway/gateway/store/files.py",
        "                if await _stored(session, file.workspace_id) + file.bytes > most_stored:\n",
        "                if most_stored < 0:\n",
        f"{BATCH_TESTS}/test_files.py::test_a_workspace_keeps_so_many_bytes_and_no_more",
    ),
    Mutant(
        "the door",
        "services/gateway/gateway/load.py",
        "        over = entering >= self._most_entering or",
        "        over = entering < 0 or",
        f"{GATEWAY_TESTS}/test_load.py::test_beyond_what_may_enter_callers_hear_so_at_once",
    ),
    Mutant(
        "the last answer of a connection",
        "libs/common/common/http.py",
        ', (b"connection", b"close")]\n',
        "]\n",
        "libs/common/tests/test_leaving.py",
    ),
)


def main(texts: list[str]) -> int:
    """Print the table; return 1 if a mutant survives."""
    chosen = [mutant for mutant in MUTANTS if not texts or any(text in mutant.name for text in texts)]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        copy_tree(copy)
        check_imports(copy)
        verdicts = [(mutant, verdict(copy, mutant)) for mutant in chosen]
    width = max((len(mutant.name) for mutant in chosen), default=0)
    print(f"\n{'removed'.ljust(width)}  verdict   test that must fail")
    for mutant, found in verdicts:
        print(f"{mutant.name.ljust(width)}  {found:8}  {mutant.test}")
    return int(any(found != "killed" for _, found in verdicts))


def copy_tree(copy: Path) -> None:
    """Copy what git knows and what is new, as it stands."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    for name in filter(None, listed):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)


def environment(copy: Path) -> dict[str, str]:
    """Put the copy's packages before the installed ones, which point at the tree."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(str(copy / package) for package in (*PACKAGES, CLIENT, EMBEDDED)),
    }


def check_imports(copy: Path) -> None:
    """Fail unless the copy's code is what runs."""
    for package in (*PACKAGES, CLIENT, EMBEDDED):
        name = "tallyrun" if package == CLIENT else package.rpartition("/")[2]
        told = [sys.executable, "-c", f"import {name}; print({name}.__file__)"]
        found = subprocess.run(told, cwd=copy, env=environment(copy), capture_output=True, text=True, check=True).stdout
        assert Path(found.strip()).is_relative_to(copy), f"{name} is imported from {found}"


def verdict(copy: Path, mutant: Mutant) -> str:
    """See the test pass, apply the mutation, see it fail, take the mutation back."""
    path = copy / mutant.file
    original = path.read_text()
    if (times := original.count(mutant.old)) != 1:
        return f"applies {times} times"
    if (unchanged := tested(copy, f"{mutant.name}, in place", mutant.test)) != 0:
        return f"fails without it: {unchanged}"
    path.write_text(original.replace(mutant.old, mutant.new))
    try:
        code = tested(copy, f"{mutant.name}, removed", mutant.test)
    finally:
        path.write_text(original)
    return {0: "survived", TESTS_FAILED: "killed"}.get(code, f"error {code}")


def tested(copy: Path, what: str, test: str) -> int:
    """Run the test in the copy; return pytest's exit code."""
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", "-x", "--no-header", "--tb=line", test]
    ended = subprocess.run(command, cwd=copy, env=environment(copy), capture_output=True, text=True, check=False)
    said = [line for line in ended.stdout.splitlines() if line.startswith(("E  ", "FAILED"))]
    took = time.monotonic() - began
    print(f"{what}: pytest {ended.returncode} in {took:.0f} s", *said, sep="\n  ", flush=True)
    return ended.returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
