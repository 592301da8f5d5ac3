/* shell_effect.c -- see shell.h: what the core asks for is carried out. */
#include "coordinator/shell_state.h"

#include <math.h>

#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"

/* The points before and after a message of this type is sent. */
static void shell_fault_sending(enum message_type type)
{
    switch (type) {
    case MESSAGE_WELCOME: fault_at(FAULT_coordinator_welcome); break;
    case MESSAGE_ACK: fault_at(FAULT_coordinator_ack); break;
    case MESSAGE_GENERATE_LEASE: fault_at(FAULT_coordinator_lease_generate); break;
    case MESSAGE_SCORE_LEASE: fault_at(FAULT_coordinator_lease_score); break;
    case MESSAGE_TRAIN_LEASE: fault_at(FAULT_coordinator_lease_train); break;
    default: break;
    }
}

static void shell_fault_sent(enum message_type type)
{
    switch (type) {
    case MESSAGE_WELCOME: fault_at(FAULT_coordinator_welcomed); break;
    case MESSAGE_ACK: fault_at(FAULT_coordinator_acked); break;
    case MESSAGE_TRAIN_LEASE: fault_at(FAULT_coordinator_leased_train); break;
    default: break;
    }
}

static void shell_send(struct shell *shell, uint64_t peer, const struct message *message)
{
    struct err err = {0};
    shell_fault_sending(message->type);
    const enum wire_send sent =
        wire_socket_send(shell->wire, (struct wire_peer){peer}, message, &err);
    shell_fault_sent(message->type);
    if (sent == WIRE_SEND_OK)
        return;
    log_warn("SEND", "%s not sent: %s%s%s", message_type_name(message->type),
             wire_send_name(sent), err.text[0] ? ": " : "", err.text);
    /* A peer that does not read is as good as gone: its work is given to others. */
    if (shell->gone_n < SHELL_GONE_MAX)
        shell->gone[shell->gone_n++] = peer;
}

static void shell_step_done(struct shell *shell, const struct record_step *step)
{
    struct buf line;
    struct err err;
    fault_at(FAULT_coordinator_step_done);
    buf_init(&line, 1 << 20);
    status_progress(shell->status, step, &line);
    log_info("STEP", "step %llu of %llu: reward %.4f (raw %.4f), kl %.4f, beta %.5f, %u slots",
             (unsigned long long)step->step + 1, (unsigned long long)shell->config->steps,
             step->reward_shaped_mean, step->reward_raw_mean, step->kl_mean,
             step->kl_coef_before, (unsigned)step->trained);
    if (step->worst_group > 0)
        log_info("GROUP",
                 "step %llu: trained on \"%s\", of whose group the mean is least: %.4f",
                 (unsigned long long)step->step + 1,
                 shell->config->scorer[step->worst_group - 1].name, step->reward_raw_mean);
    if (!isnan(step->cost_raw_mean))
        log_info("COST", "step %llu: cost %.4f, limit %.4f, lambda %.5f then %.5f",
                 (unsigned long long)step->step + 1, step->cost_raw_mean, step->cost_limit,
                 step->multiplier_before, step->multiplier_after);
    if (file_write_all(shell->progress_fd, line.data, line.len, "progress.jsonl", &err) !=
        ERR_OK)
        log_warn("PROGRESS", "%s", err.text);
    buf_release(&line);
    fault_at(FAULT_coordinator_step_told);
}

void shell_sink(void *user, const struct core_effect *effect)
{
    struct shell *shell = user;
    struct err err;
    switch (effect->kind) {
    case CORE_FX_SEND: shell_send(shell, effect->peer, effect->message); break;
    case CORE_FX_APPEND:
        if (ledger_append(shell->ledger, effect->record, &err) != ERR_OK)
            shell_fail(shell, &err);
        break;
    case CORE_FX_LOG: log_line(effect->level, effect->id, "%s", effect->text); break;
    case CORE_FX_STEP_DONE: shell_step_done(shell, effect->step); break;
    case CORE_FX_KICK:
        log_warn("KICK", "a connection that keeps sending what is no message is cut");
        wire_socket_kick(shell->wire, (struct wire_peer){effect->peer});
        break;
    case CORE_FX_RECALL:
        shell->recall = true;
        shell->recall_step = effect->recall_step;
        break;
    case CORE_FX_FINISHED:
        fault_at(FAULT_coordinator_finished);
        /* Told by a signal, mostly by what starts it again: to that the run is not over. */
        shell->exit_code = shell->drains && effect->exit_code == 0 && !effect->complete
                               ? CORE_EXIT_STOPPED
                               : effect->exit_code;
        shell->ended = true;
        log_line(effect->exit_code == CORE_EXIT_HALT ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO,
                 "FINISHED", "%s", effect->text);
        uv_stop(&shell->loop);
        break;
    }
}
