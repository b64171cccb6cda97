"""What axe-core finds wrong with a page in a browser, in words a failing test can show."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from playwright.sync_api import Page

AXE = Path(__file__).parent / "vendor" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


@lru_cache(maxsize=1)
def _axe() -> str:
    return AXE.read_text("utf-8")


def faults_of(page: Page) -> list[str]:
    """Return each fault against WCAG 2.2 AA: the rule, and the elements that break it."""
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(_axe())  # not by the page itself, whose policy allows no script but its own
    found = page.evaluate(
        """rules => axe.run(
             {exclude: ["iframe"]},
             {iframes: false, resultTypes: ["violations"],
              runOnly: {type: "tag", values: rules}})
           .then(all => all.violations.map(one =>
             one.id + ": " + one.nodes.map(node => node.target.join(" ") + " " +
               (node.any[0] || node.all[0] || node.none[0] || {}).message).join("; ")))""",
        RULES,
    )
    return list(found)


def sticks_out(page: Page) -> bool:
    """Tell whether a page can be scrolled sideways."""
    return bool(
        page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
    )
