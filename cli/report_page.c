/* report_page.c -- see report_page.h. */
#include "cli/report_page.h"

#include <math.h>
#include <string.h>

#include "cli/chart.h"

void report_page_begin(struct buf *out, const char *title)
{
    buf_puts(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                  "<meta name=\"viewport\" content=\"width=device-width\">\n<title>");
    report_page_text(out, title);
    buf_puts(out, "</title>\n<style>\n"
                  ":root{color-scheme:light dark;--line:#d0d7de;--soft:#f6f8fa;--dim:#59636e}\n"
                  "@media(prefers-color-scheme:dark){:root{--line:#3d444d;--soft:#161b22;"
                  "--dim:#9198a1}body{background:#0d1117;color:#d0d7de}}\n"
                  "body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:1340px;"
                  "padding:0 1.5em}\n"
                  "h1{margin:0}h2{margin:2em 0 .5em;border-bottom:1px solid var(--line)}\n"
                  "p{max-width:60em}.dim{color:var(--dim)}.alarm{border-left:4px solid #d55e00;"
                  "padding-left:.8em}\n"
                  "table{border-collapse:collapse;margin:1em 0}td,th{padding:3px 14px 3px "
                  "0;text-align:left;"
                  "vertical-align:top;border-bottom:1px solid var(--line)}\n"
                  "th{font-weight:600}.n{text-align:right;white-space:nowrap;"
                  "font-variant-numeric:tabular-nums}\n"
                  ".wide{overflow-x:auto}.tag{white-space:nowrap}.said{white-space:pre-wrap;"
                  "overflow-wrap:anywhere;"
                  "min-width:12em}\n"
                  ".charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,"
                  "460px),1fr));gap:8px 24px}\n"
                  "pre{background:var(--soft);padding:1em;overflow:auto}\n");
    chart_style(out);
    buf_puts(out, "</style>\n</head>\n<body>\n<h1>");
    report_page_text(out, title);
    buf_puts(out, "</h1>\n");
}

void report_page_end(struct buf *out)
{
    buf_puts(out, "</body>\n</html>\n");
}

void report_page_text(struct buf *out, const char *text)
{
    buf_html_text(out, text, strlen(text));
}

void report_page_cell(struct buf *out, double value)
{
    report_page_cell_error(out, value, NAN);
}

/* The error with two digits, the value down to the same place. */
static void report_page_error(struct buf *out, double value, double error)
{
    const int decimals = error > 0 ? 1 - (int)floor(log10(error)) : 0;
    if (error > 0 && decimals <= 8)
        buf_printf(out, "%.*f \xc2\xb1 %.*f", decimals > 0 ? decimals : 0, value,
                   decimals > 0 ? decimals : 0, error);
    else
        buf_printf(out, "%.4g \xc2\xb1 %.2g", value, error);
}

void report_page_cell_error(struct buf *out, double value, double error)
{
    buf_puts(out, "<td class=\"n\">");
    if (!isfinite(value))
        buf_putc(out, '-');
    else if (isfinite(error))
        report_page_error(out, value, error);
    else
        buf_printf(out, "%.4g", value);
    buf_puts(out, "</td>");
}

void report_page_config(struct buf *out, const char *title, const struct run_config *config)
{
    struct buf yaml;
    buf_init(&yaml, 1024 * 1024);
    run_config_write(config, &yaml);
    buf_puts(out, "<details><summary>");
    report_page_text(out, title);
    buf_puts(out, "</summary><pre>");
    report_page_text(out, yaml.data);
    buf_puts(out, "</pre></details>\n");
    buf_release(&yaml);
}
