// Keeps the figures at the top of the first page up to date. Everything can be read without it.
"use strict";
(() => {
  const tiles = document.querySelector("dl[data-live]");
  if (!tiles) return;
  const PAUSE_MS = 10000;
  const UNITS = ["B", "kB", "MB", "GB", "TB", "PB"];
  const count = (value) => value.toLocaleString("en-US");
  const rate = (value) => (value === null ? "\u2013" : (value * 100).toFixed(1) + "\u00a0%");
  const size = (value) => {
    let unit = 0;
    while (Number(value.toFixed(1)) >= 1000 && unit + 1 < UNITS.length) {
      value /= 1000;
      unit += 1;
    }
    return value.toFixed(unit ? 1 : 0) + "\u00a0" + UNITS[unit];
  };
  const written = { hit_rate: rate, bytes: size, upstream_bytes: size, saved_bytes: size };

  const show = (figures) => {
    const known = { ...figures, saved_bytes: Math.max(0, figures.bytes - figures.upstream_bytes) };
    for (const place of tiles.querySelectorAll("[data-figure]")) {
      const value = known[place.dataset.figure];
      if (value !== undefined) place.textContent = (written[place.dataset.figure] || count)(value);
    }
  };

  const refresh = async () => {
    if (!document.hidden) {
      try {
        const reply = await fetch(tiles.dataset.live, { headers: { accept: "application/json" } });
        if (reply.ok) show((await reply.json()).total);
      } catch {
        // The gateway may be restarting: the next round tells.
      }
    }
    setTimeout(refresh, PAUSE_MS);
  };
  setTimeout(refresh, PAUSE_MS);
})();
