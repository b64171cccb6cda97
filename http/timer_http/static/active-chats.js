// <active-chats src="https://timer.example" token="tsc_…" lang="he"></active-chats>
//
// Shows how many chats are active, on any page: docs/active-chats.md. A plain script or a module;
// it needs nothing else. Never throws: what cannot be read is shown as a dash.

(() => {
  "use strict";

  // Where pages are rendered without a browser there is nothing to define.
  if (typeof customElements === "undefined" || customElements.get("active-chats")) return;

  const WORDS = {
    en: { label: "Active chats:", away: "The number cannot be read right now." },
    he: { label: "שיחות פעילות:", away: "לא ניתן לקרוא את המספר כרגע." },
    id: { label: "Obrolan aktif:", away: "Angkanya tidak bisa dibaca saat ini." },
  };
  const OLDER_CODES = { iw: "he", in: "id" };
  const PATH = "/public/active-chats";
  const UNKNOWN = "—";
  const GIVE_UP_MS = 10_000;
  const REFRESH_S = { usual: 30, least: 5, most: 86_400 };

  const STYLE = `
    :host { display: inline-block; position: relative; }
    :host([hidden]) { display: none; }
    [part~="number"] { font-variant-numeric: tabular-nums; }
    [part="reason"] {
      position: absolute; inline-size: 1px; block-size: 1px;
      overflow: hidden; clip-path: inset(50%); white-space: nowrap;
    }`;
  let sheet; // one for all: unlike a style element, a page's Content-Security-Policy lets it be

  const makeSheet = () => {
    const made = new CSSStyleSheet();
    made.replaceSync(STYLE);
    return made;
  };

  const makePart = (tag, name) => {
    const made = document.createElement(tag);
    made.setAttribute("part", name);
    return made;
  };

  // A live region speaks at every write, even of the same words.
  const write = (element, words) => {
    if (element.textContent !== words) element.textContent = words;
  };

  const formatNumber = (count, language) => {
    try {
      return new Intl.NumberFormat(language).format(count);
    } catch {
      return String(count);
    }
  };

  class ActiveChats extends HTMLElement {
    static observedAttributes = ["src", "token", "lang", "refresh-s"];

    #count = null;
    #hasFailed = false;
    #asking = null;
    #timer = 0;
    #toldAtMs = -Infinity;
    #willRefresh = false;
    #line = makePart("span", "line");
    #label = makePart("span", "label");
    #number = makePart("bdi", "number");
    #reason = makePart("span", "reason");
    #onVisibility = () => (document.hidden ? this.#pause() : this.#refresh());

    constructor() {
      super();
      const root = this.attachShadow({ mode: "open" });
      root.adoptedStyleSheets = [(sheet ??= makeSheet())];
      this.#line.setAttribute("role", "status");
      this.#line.append(this.#label, " ", this.#number, this.#reason);
      root.append(this.#line);
    }

    /** The number last read; null where there is none. */
    get count() {
      return this.#count;
    }

    connectedCallback() {
      document.addEventListener("visibilitychange", this.#onVisibility);
      this.#render();
      this.#refresh();
    }

    disconnectedCallback() {
      document.removeEventListener("visibilitychange", this.#onVisibility);
      this.#pause();
    }

    attributeChangedCallback(name, before, after) {
      if (before === after || !this.isConnected) return;
      if (name === "src") this.#take(null, false);
      if (name === "lang") this.#render();
      else this.#refreshSoon();
    }

    // Whoever sets three attributes in a row asks once.
    #refreshSoon() {
      if (this.#willRefresh) return;
      this.#willRefresh = true;
      queueMicrotask(() => {
        this.#willRefresh = false;
        this.#refresh();
      });
    }

    #pause() {
      clearTimeout(this.#timer);
      this.#asking?.abort();
      this.#asking = null;
    }

    async #refresh() {
      this.#pause();
      if (!this.isConnected || document.hidden) return;
      const asking = new AbortController();
      this.#asking = asking;
      const givingUp = setTimeout(() => asking.abort(), GIVE_UP_MS);
      const { count, isRefused } = await this.#ask(asking.signal);
      clearTimeout(givingUp);
      if (this.#asking !== asking) return; // paused, or asked anew
      this.#asking = null;
      this.#timer = setTimeout(() => this.#refresh(), this.#refreshMs());
      this.#take(count, count === null);
      if (isRefused) this.#tellRefused();
    }

    // Once a period: a page that answers with a token that is refused too must not go in circles.
    #tellRefused() {
      const nowMs = performance.now();
      if (nowMs - this.#toldAtMs < this.#refreshMs()) return;
      this.#toldAtMs = nowMs;
      this.dispatchEvent(new Event("refused"));
    }

    async #ask(signal) {
      try {
        const address = new URL(this.getAttribute("src") ?? "", document.baseURI);
        if (address.pathname === "/") address.pathname = PATH;
        const answer = await fetch(address, {
          headers: { Authorization: `Bearer ${this.getAttribute("token") ?? ""}` },
          cache: "no-store",
          credentials: "omit",
          referrerPolicy: "no-referrer",
          signal,
        });
        if (!answer.ok) return { count: null, isRefused: answer.status === 401 };
        const { active_chats_count: count } = await answer.json();
        return { count: Number.isSafeInteger(count) && count >= 0 ? count : null };
      } catch {
        return { count: null };
      }
    }

    #refreshMs() {
      const asked = Number(this.getAttribute("refresh-s")) || REFRESH_S.usual;
      return Math.min(Math.max(asked, REFRESH_S.least), REFRESH_S.most) * 1000;
    }

    #take(count, hasFailed) {
      const hasChanged = count !== this.#count;
      this.#count = count;
      this.#hasFailed = hasFailed;
      this.#render();
      // Not a bubbling one: forms around the element wait for changes of their own fields.
      if (hasChanged) this.dispatchEvent(new CustomEvent("change", { detail: { count } }));
    }

    #render() {
      const given = this.lang || this.closest("[lang]")?.lang || document.documentElement.lang;
      const asked = given.replaceAll("_", "-");
      const base = asked.split("-")[0].toLowerCase();
      const known = OLDER_CODES[base] ?? base;
      const language = Object.hasOwn(WORDS, known) ? known : "en";
      const words = WORDS[language];
      const isKnown = this.#count !== null;
      this.#line.lang = language;
      this.#line.dir = language === "he" ? "rtl" : "ltr";
      this.#number.setAttribute("part", isKnown ? "number" : "number unknown");
      this.#number.ariaHidden = isKnown ? null : "true";
      write(this.#label, words.label);
      const region = known === base && known === language ? asked : language;
      write(this.#number, isKnown ? formatNumber(this.#count, region) : UNKNOWN);
      write(this.#reason, this.#hasFailed ? ` ${words.away}` : "");
      this.#number.title = this.#hasFailed ? words.away : "";
    }
  }

  customElements.define("active-chats", ActiveChats);
})();
