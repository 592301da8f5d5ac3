/*
 * test_cli_top.c -- `rlhf top`: rates, and a screen for a terminal of a given size.
 *
 * Oracle: the differences and cuts worked out here by hand, in the codes of ECMA-48.
 */
#include "cli/top.h"
#include "tests/unit/cli_run.h"
#include "tests/unit/near.h"

static json_t *status(int epoch, int trained, int tokens, int records)
{
    return json_pack("{s:i,s:i,s:i,s:{s:i}}", "epoch", epoch, "trained", trained,
                     "ledger_records", records, "counters", "response_tokens", tokens);
}

static void see(struct top_rates *rates, json_t *seen, uint64_t now_ms)
{
    top_rates_see(rates, seen, now_ms);
    json_decref(seen);
}

static void rates_are_differences_over_time(void **state)
{
    (void)state;
    struct top_rates rates = {0};
    see(&rates, status(1, 10, 1000, 50), 5000);
    check_near(rates.seconds, 0.0, 0.0); /* one look is none */
    see(&rates, status(1, 13, 4000, 80), 7000);
    check_near(rates.seconds, 2.0, 0.0);
    check_near(rates.steps_per_s, 1.5, 0.0);
    check_near(rates.tokens_per_s, 1500.0, 0.0);
    check_near(rates.records_per_s, 15.0, 0.0);
    see(&rates, status(1, 13, 4000, 80), 7000); /* no time went by */
    check_near(rates.seconds, 0.0, 0.0);
}

static void a_coordinator_that_was_started_again_counts_anew(void **state)
{
    (void)state;
    struct top_rates rates = {0};
    struct buf out;
    buf_init(&out, 1024);
    see(&rates, status(1, 10, 1000, 50), 1000);
    see(&rates, status(2, 10, 0, 51), 2000);
    check_near(rates.seconds, 0.0, 0.0);
    top_rates_write(&rates, &out);
    assert_non_null(strstr(out.data, " - steps/s"));
    see(&rates, status(2, 11, 500, 61), 3000);
    buf_clear(&out);
    top_rates_write(&rates, &out);
    assert_string_equal(out.data,
                        "now         1.00 steps/s, 500 response tokens/s, 10 records/s\n\n");
    buf_release(&out);
}

static void check_drawn(const char *text, unsigned rows, unsigned columns, const char *want)
{
    struct buf screen, out;
    buf_init(&screen, 4096);
    buf_init(&out, 8192);
    buf_puts(&screen, text);
    top_draw(&screen, rows, columns, &out);
    buf_puts(&out, "");
    assert_string_equal(out.data, want);
    buf_release(&screen);
    buf_release(&out);
}

static void a_screen_is_cut_to_the_terminal(void **state)
{
    (void)state;
    check_drawn("abc\ndefgh\nij\n", 24, 4, "\033[Habc\033[K\r\ndefg\033[K\r\nij\033[K\033[J");
    check_drawn("a\nb\nc\n", 2, 80, "\033[Ha\033[K\r\nb\033[K\033[J");
    check_drawn("\xc3\xa9t\xc3\xa9s\n", 1, 3, "\033[H\xc3\xa9t\xc3\xa9\033[K\033[J");
    check_drawn("", 0, 0, "\033[H\033[J");
    check_drawn("a\n", 0, 0, "\033[Ha\033[K\033[J");
}

static void without_a_terminal_it_looks_once(void **state)
{
    (void)state;
    check_line(cli_main, "rlhf top http://127.0.0.1:1", 69, "nobody answers at 127.0.0.1:1");
    check_line(cli_main, "rlhf top /nonexistent", 69, "/nonexistent/ledger.sqlite");
    assert_null(strchr(said, '\033'));
    check_line(cli_main, "rlhf top a --every 0", 64, "--every");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_differences_over_time),
        cmocka_unit_test(a_coordinator_that_was_started_again_counts_anew),
        cmocka_unit_test(a_screen_is_cut_to_the_terminal),
        cmocka_unit_test(without_a_terminal_it_looks_once),
    };
    return cmocka_run_group_tests_name("cli/top", tests, NULL, NULL);
}
