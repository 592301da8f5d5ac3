/*
 * message.h -- a message as the rest of the house sees it: plain structs, checked.
 *
 * wire/ alone knows protobuf.  message_decode turns frames into a struct message whose every
 * count, size, enum and string has been checked against its bound and against the payload
 * frames it claims; nothing else of it need be distrusted but its meaning.  message_encode is
 * the way back.
 *
 *  message          from -> to              payload frames          a late or repeated one
 *  HELLO            worker -> coordinator   -                       new session, old one ends
 *  WELCOME          coordinator -> worker   -                       ignored
 *  RESET            coordinator -> worker   -                       worker says HELLO again
 *  HEARTBEAT        both                    -                       counts as life
 *  BYE              worker -> coordinator   -                       ignored
 *  BYE              coordinator -> worker   -                       the run is over: end
 *  ACK              coordinator -> worker   -                       ignored (seq is a high mark)
 *  GENERATE_LEASE   coordinator -> actor    prompt ids              worker answers anew
 *  GENERATE_RESULT  actor -> coordinator    ids, log-probs          compared, counted, acked
 *  SCORE_LEASE      coordinator -> reward   ids                     worker answers anew
 *  SCORE_RESULT     reward -> coordinator   scores, states, ref     dropped, counted, acked
 *  TRAIN_LEASE      coordinator -> learner  ids, log-probs, ... [1] answered from memory
 *  TRAIN_RESULT     learner -> coordinator  -                       compared, counted, acked
 *  LEASE_FAILED     worker -> coordinator   -                       ignored
 *  WEIGHTS_ASK      worker -> learner       -                       answered again
 *  WEIGHTS_MANIFEST learner -> worker       hashes of chunks        ignored
 *  CHUNK_ASK        worker -> learner [2]   -                       answered again
 *  CHUNK            learner -> worker [2]   bytes                   ignored
 *  CHUNK_ELSEWHERE  learner -> worker [2]   -                       ignored
 *  GRADIENT_ASK     learner -> learner      -                       refused, counted
 *  GRADIENT_CHUNK   learner -> learner      bytes                   ignored, counted
 *  GRADIENT_WAIT    learner -> learner      -                       ignored
 *  GRADIENT_REFUSED learner -> learner      -                       ignored
 *
 *  [1] ids, behaviour log-probs, token rewards, reference log-probs; where costs train a fifth:
 *      token costs.
 *  [2] or between workers.
 *
 * Results are keyed by (kind, a, b), not by lease: a result is welcome while its item waits
 * for one and its version is the planned one, whoever sends it.
 */
#ifndef WIRE_MESSAGE_H
#define WIRE_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"

#define WIRE_VERSION         3u
#define WIRE_HEADER_MAX      (256u * 1024u) /* bytes: a lease of WIRE_ITEMS_MAX items fits */
#define WIRE_FRAMES_MAX      8u
#define WIRE_PAYLOAD_MAX     (256u * 1024u * 1024u) /* bytes, all payload frames together */
#define WIRE_FRAME_MAX       (64u * 1024u * 1024u)  /* bytes, one payload frame */
#define WIRE_ITEMS_MAX       4096u
#define WIRE_SCORERS_MAX     16u
#define WIRE_STATS_MAX       64u
#define WIRE_NAME_MAX        64u  /* bytes with the NUL: names of workers and statistics */
#define WIRE_TEXT_MAX        256u /* bytes with the NUL: reasons, endpoints */
#define WIRE_NONCE_BYTES     16u
#define WIRE_CHUNK_BYTES     (1024u * 1024u)
#define WIRE_RANKS_MAX       16u /* learners that train a step together */
#define WIRE_PARTS_MAX       66u /* arrays of a rank in one round */
#define WIRE_WEIGHTS_MAX     ((uint64_t)1 << 60) /* of what is counted of weights */

#define WIRE_ROLE_MAP(X) X(NONE, "none") X(ACTOR, "actor") X(REWARD, "reward") X(LEARNER, "learner")
enum wire_role {
#define X(name, text) WIRE_ROLE_##name,
    WIRE_ROLE_MAP(X)
#undef X
};
const char *wire_role_name(enum wire_role role);

#define MESSAGE_MAP(X)                                                                    \
    X(NONE) X(HELLO) X(WELCOME) X(RESET) X(HEARTBEAT) X(BYE) X(ACK) X(GENERATE_LEASE)     \
    X(GENERATE_RESULT) X(SCORE_LEASE) X(SCORE_RESULT) X(TRAIN_LEASE) X(TRAIN_RESULT)      \
    X(LEASE_FAILED) X(WEIGHTS_ASK) X(WEIGHTS_MANIFEST) X(CHUNK_ASK) X(CHUNK) X(CHUNK_ELSEWHERE) \
    X(GRADIENT_ASK) X(GRADIENT_CHUNK) X(GRADIENT_WAIT) X(GRADIENT_REFUSED)
enum message_type {
#define X(name) MESSAGE_##name,
    MESSAGE_MAP(X)
#undef X
};
#define MESSAGE_LAST MESSAGE_GRADIENT_REFUSED
const char *message_type_name(enum message_type type);

enum wire_work { WIRE_WORK_NONE, WIRE_WORK_ROLLOUT, WIRE_WORK_REFERENCE };
enum wire_finish { WIRE_FINISH_NONE, WIRE_FINISH_EOS, WIRE_FINISH_STOP, WIRE_FINISH_LENGTH };
enum wire_score { WIRE_SCORE_NONE, WIRE_SCORE_OK, WIRE_SCORE_FAILED, WIRE_SCORE_TIMEOUT };

struct wire_item {
    enum wire_work kind;
    uint64_t a; /* rollout: step; reference: prompt index */
    uint32_t b; /* rollout: slot; reference: m */
    uint32_t prompt;
    uint32_t prompt_tokens;
    uint32_t response_tokens;
    enum wire_finish finish;
    uint32_t group;
};

struct wire_stat {
    char name[WIRE_NAME_MAX];
    double value;
};

/* A learner of a group that trains a step together. */
struct wire_rank {
    char name[WIRE_NAME_MAX];
    char endpoint[WIRE_TEXT_MAX];
};

/* A piece of an exchange between learners: learner/exchange.h. */
struct wire_gradient {
    uint64_t run, attempt, shape, first;
    uint32_t round, rank, part, bytes;
};

/* What a worker has sent and fetched of weights since it began.  The bytes of the versions that it
 * has had are server_, relay_, saved_ and mapped_bytes together; proto/rlhf.proto says which is
 * which. */
#define WIRE_WEIGHTS_COUNTS_MAP(X)                                                \
    X(sent_bytes)                                                                 \
    X(server_bytes) X(relay_bytes) X(saved_bytes) X(mapped_bytes) X(wasted_bytes) \
        X(refused) X(fetches)
#define WIRE_WEIGHTS_MAP(X) WIRE_WEIGHTS_COUNTS_MAP(X) X(fetch_ms)
struct wire_weights {
#define X(name) uint64_t name;
    WIRE_WEIGHTS_MAP(X)
#undef X
};

/* A payload frame, borrowed: from the received frames, or from whoever encodes. */
struct wire_bytes {
    const void *data; /* 8-byte aligned when decoded (copied where ZeroMQ's is not) */
    size_t size;
};

struct message {
    enum message_type type;
    uint64_t epoch, session, seq;

    struct wire_item *items; /* of leases and results; owned by a decoded message */
    uint32_t items_n;
    uint32_t frames_n;
    struct wire_bytes frame[WIRE_FRAMES_MAX];

    uint64_t lease;    /* leases, results, LEASE_FAILED */
    uint32_t lease_ms; /* leases */
    uint64_t version;  /* HELLO, GENERATE_*, SCORE_* (the reference's), TRAIN_RESULT, WEIGHTS_*,
                          CHUNK* */
    uint64_t step;     /* TRAIN_*, GRADIENT_* */
    uint64_t behaviour_version; /* TRAIN_LEASE */
    double kl_coef;             /* TRAIN_LEASE */
    double multiplier;          /* TRAIN_LEASE: lambda, of the token costs; 0 without them */
    bool checkpoint, last;      /* TRAIN_LEASE */
    bool restore;               /* TRAIN_LEASE: go back to base_version, train nothing */
    double lr_scale;            /* TRAIN_LEASE: of the learning rates; 0: 1 */
    uint64_t base_version, target_version; /* TRAIN_LEASE: of the last rollback, and the next */
    uint64_t checkpoint_version; /* TRAIN_RESULT */
    uint64_t attempt;            /* TRAIN_LEASE */
    uint32_t rank;               /* TRAIN_*: of the learner in its group */
    uint32_t ranks_n;            /* TRAIN_LEASE: 0 where it trains alone */
    struct wire_rank *ranks;     /* TRAIN_LEASE; owned by a decoded message */
    uint32_t scorers;            /* SCORE_RESULT */
    struct wire_stat *stats;     /* TRAIN_RESULT; owned by a decoded message */
    uint32_t stats_n;
    struct hash hash; /* HELLO: weights, or scorers; TRAIN_RESULT: weights;
                         WEIGHTS_MANIFEST: the whole */
    bool has_hash;
    char text[WIRE_TEXT_MAX]; /* RESET, BYE, LEASE_FAILED, SCORE_RESULT, GRADIENT_REFUSED: why;
                                 HELLO, GENERATE_LEASE: the weights endpoint; CHUNK_ASK: the
                                 asker's relay; CHUNK_ELSEWHERE: an endpoint, or none */
    /* HELLO */
    enum wire_role role;
    char name[WIRE_NAME_MAX];
    unsigned char nonce[WIRE_NONCE_BYTES];
    struct hash config_hash;
    uint32_t capacity;
    uint64_t pid;
    /* WELCOME */
    uint32_t heartbeat_ms, dead_ms;
    bool refused; /* RESET */
    bool insist;  /* CHUNK_ASK: the chunk itself, not where it is */
    bool untried; /* LEASE_FAILED: nothing was begun, so its items are not at fault */
    /* HEARTBEAT */
    uint64_t progress;
    uint32_t held;
    struct wire_weights weights;
    uint64_t ack_seq; /* ACK */
    /* WEIGHTS_MANIFEST, CHUNK* */
    uint64_t bytes;
    uint32_t chunk_bytes, chunk_index;
    uint64_t base; /* CHUNK_ASK: held by the asker; CHUNK: what the difference is from; 0: none */
    uint32_t fd; /* WEIGHTS_MANIFEST: the whole is this descriptor of process `pid`, unless 0 */
    struct wire_gradient gradient; /* GRADIENT_* */
    uint64_t payload_xxh3; /* GRADIENT_CHUNK, decoded: what hash_xxh3 of its frame must be, which
                              was not looked at; to send: the same, or 0 where it is not known */

    void *owned; /* memory behind items, stats, ranks and copied frames; message_release frees */
};

/*
 * Check and decode.  head (head_size bytes) is the Header frame; frames are the payload
 * frames, borrowed by *message until message_release.  ERR_FORMAT with a sentence naming the
 * message type and field, or ERR_NOMEM; nothing is held then.
 * What is checked: sizes and counts against the bounds above; the checksum, but of a
 * GRADIENT_CHUNK, whose bytes are to be read once, by who adds them, and of a CHUNK that is no
 * difference: it has none, but a hash in the WEIGHTS_MANIFEST; that each payload
 * frame's size is what the items say (so that an array may be read without a further look);
 * enum ranges; UTF-8 and no NUL in strings; floats of log-probs finite and <= 0, scores with
 * state ok finite, rewards and costs finite; a multiplier only where there are costs; a lease
 * that goes back has no items, and goes back to a version that was there.
 */
enum err_code message_decode(struct message *message, const void *head, size_t head_size,
                             const struct wire_bytes *frames, size_t frames_n,
                             struct err *err);

/* Free what decode allocated; harmless on a zeroed struct and twice. */
void message_release(struct message *message);

/* A header on its way ends with its own checksum, which nothing else protects: TCP's sums let one
 * error in some thousands through.  message_seal writes it at head + n, MESSAGE_SEAL_BYTES of
 * them; message_check_seal is ERR_FORMAT where the frame is not as it was sealed. */
#define MESSAGE_SEAL_BYTES 9u
void message_seal(unsigned char *head, size_t n);
enum err_code message_check_seal(const void *head, size_t head_size, struct err *err);

/* The Header frame for *message, allocated; the caller frees it with free().  Payload frames
 * are sent as they stand in message->frame.  ERR_VALUE where a bound is exceeded, ERR_NOMEM. */
enum err_code message_encode(const struct message *message, unsigned char **head,
                             size_t *head_size, struct err *err);

/* message->text = text, cut off at a character where it is too long; a byte that is no part of
 * UTF-8 becomes '?'.  For reasons, not for endpoints. */
void message_set_text(struct message *message, const char *text);

/* Sums over items. */
uint64_t message_prompt_tokens(const struct message *message);
uint64_t message_response_tokens(const struct message *message);

#endif
