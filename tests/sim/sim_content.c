/* sim_content.c -- what simulated workers make: pure functions of what is asked. */
#include <string.h>

#include "base/hash.h"
#include "tests/sim/sim.h"

static uint64_t sim_content_bits(uint64_t salt, uint64_t work, uint64_t a, uint64_t b)
{
    return sim_mix(sim_mix(sim_mix(sim_mix(salt) ^ work) ^ a) ^ b);
}

void sim_content_rollout(struct sim_rollout *out, uint64_t version, enum wire_work work,
                         uint64_t a, uint32_t b)
{
    memset(out, 0, sizeof *out);
    uint64_t bits = sim_content_bits(version + 100, (uint64_t)work, a, b);
    out->tokens = 1 + (uint32_t)(bits % SIM_TOKENS);
    out->finish = out->tokens == SIM_TOKENS ? WIRE_FINISH_LENGTH : WIRE_FINISH_EOS;
    for (uint32_t t = 0; t < out->tokens; t++) {
        bits = sim_mix(bits);
        out->ids[t] = (int32_t)(bits % 1000);
        out->logp[t] = -(float)(bits >> 20 & 1023) / 512.0f;
    }
}

uint32_t sim_content_score(double score[SIM_SCORERS], float ref[SIM_TOKENS],
                           const struct sim_rollout *rollout, enum wire_work work, uint64_t a,
                           uint32_t b, uint64_t reference)
{
    uint64_t bits = sim_content_bits(hash_xxh3(rollout, sizeof *rollout), (uint64_t)work, a, b);
    const uint32_t never = bits % 40 == 0 ? 0 : bits % 40 == 1 ? SIM_COST : SIM_SCORERS;
    for (uint32_t s = 0; s < SIM_SCORERS; s++) {
        bits = sim_mix(bits);
        score[s] = ((double)(bits % 2001) - 1000.0) / 500.0;
    }
    bits += reference;
    for (uint32_t t = 0; t < rollout->tokens; t++) {
        bits = sim_mix(bits);
        ref[t] = -(float)(bits >> 20 & 1023) / 512.0f;
    }
    return never;
}

void sim_content_train(struct hash *out, const struct hash *from, const struct message *lease)
{
    uint64_t sums[11] = {0};
    if (lease->items_n == 0) { /* set aside */
        *out = *from;
        return;
    }
    sums[0] = hash_xxh3(from, sizeof *from);
    sums[1] = lease->step * 1000 + lease->behaviour_version;
    memcpy(&sums[2], &lease->kl_coef, sizeof sums[2]);
    for (uint32_t i = 0; i < lease->items_n; i++) {
        const struct wire_item *item = &lease->items[i];
        const uint64_t words[7] = {
            (uint64_t)item->kind,   item->a,    item->b, item->prompt, item->response_tokens,
            (uint64_t)item->finish, item->group};
        sums[3] = sim_mix(sums[3] ^ hash_xxh3(words, sizeof words));
    }
    memcpy(&sums[9], &lease->multiplier, sizeof sums[9]);
    memcpy(&sums[10], &lease->lr_scale, sizeof sums[10]);
    for (uint32_t f = 0; f < lease->frames_n && f < 5; f++)
        sums[4 + f] = hash_xxh3(lease->frame[f].data, lease->frame[f].size);
    uint64_t words[4];
    words[0] = hash_xxh3(sums, sizeof sums);
    for (int i = 1; i < 4; i++)
        words[i] = sim_mix(words[i - 1]);
    memcpy(out, words, sizeof *out);
}

static const uint8_t sim_kinds[SIM_PROMPTS] = {
    0, SIM_KIND + 1, SIM_KIND + 1, 0, 0, SIM_KIND + 1, 0};

bool sim_content_counts(const struct run_config *config, uint32_t prompt)
{
    return config->scorer[SIM_KIND].prompt_kind[0] == '\0' || sim_kinds[prompt] != 0;
}

struct core_prompts sim_content_prompts(const struct run_config *config)
{
    static const size_t offset[SIM_PROMPTS + 1] = {0, 1, 3, 6, 10, 11, 13, 16};
    static const int32_t ids[16] = {5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
    const bool kinds = config->scorer[SIM_KIND].prompt_kind[0] != '\0';
    return (struct core_prompts){
        .n = SIM_PROMPTS, .offset = offset, .ids = ids, .kind = kinds ? sim_kinds : NULL};
}
