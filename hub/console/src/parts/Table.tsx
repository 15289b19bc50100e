// A table that stays quick with ten thousand rows and can be walked with j, k and enter.
//
// Only the rows in sight are in the document; two spacer rows keep the scroll bar true. Rows have one height, two on narrow
// screens, where the style sheet lays a row out as a small block. Sorting happens inside groups: a site's nodes stay together.

import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";

import { go } from "../state/route";
import { useKeys } from "./keys";

export interface Column<R> {
  id: string;
  head: string;
  /** Explains the column in its title. */
  about?: string;
  /** Width in pixels; the one without takes what is left, but not less than `least`. */
  width?: number;
  least?: number;
  right?: boolean;
  cell: (row: R) => ComponentChildren;
  /** What to sort by; a column without cannot be sorted. */
  by?: (row: R) => string | number | null;
}

export interface Group {
  id: string;
  head: ComponentChildren;
}

type Item<R> = { group: Group } | { row: R };

export interface TableProps<R> {
  label: string;
  columns: Column<R>[];
  rows: R[];
  keyOf: (row: R) => string;
  hrefOf?: (row: R) => string;
  groupOf?: (row: R) => string;
  groupHead?: (id: string, rows: R[]) => ComponentChildren;
  /** `id` or `-id`. */
  sort?: string | null;
  onSort?: (sort: string | null) => void;
  /** Fills the rest of the page and scrolls by itself. */
  fill?: boolean;
  /** Heights of a row, wide and narrow. */
  heights?: [number, number];
  /** Takes j, k and enter. */
  keys?: boolean;
  children?: ComponentChildren;
}

const NARROW = "(max-width: 719px)";
/** Rows drawn beyond each edge of what is in sight. */
const BEYOND = 12;
/** Tables below this many rows are drawn whole. */
const WHOLE_BELOW = 120;

/** Whether a media query holds, kept up to date. */
export function useMedia(query: string): boolean {
  const [holds, setHolds] = useState(() => matchMedia(query).matches);
  useEffect(() => {
    const media = matchMedia(query);
    const changed = (): void => setHolds(media.matches);
    media.addEventListener("change", changed);
    return () => media.removeEventListener("change", changed);
  }, [query]);
  return holds;
}

/** Rows in the order of `sort`, groups together and in the order of their names. */
export function arrange<R>(rows: R[], columns: Column<R>[], sort: string | null, groupOf?: (row: R) => string): R[] {
  const down = sort?.startsWith("-") === true;
  const by = columns.find((column) => column.id === sort?.replace(/^-/, ""))?.by;
  if (by === undefined && groupOf === undefined) return rows;
  const keyed = rows.map((row, index) => ({ row, index, group: groupOf?.(row) ?? "", value: by?.(row) ?? null }));
  keyed.sort((a, b) => {
    if (a.group !== b.group) return a.group < b.group ? -1 : 1;
    if (a.value !== b.value) {
      // What is missing stays last in both directions.
      if (a.value === null) return 1;
      if (b.value === null) return -1;
      return (a.value < b.value ? -1 : 1) * (down ? -1 : 1);
    }
    return a.index - b.index;
  });
  return keyed.map(({ row }) => row);
}

function itemsOf<R>(rows: R[], { groupOf, groupHead }: Pick<TableProps<R>, "groupOf" | "groupHead">): Item<R>[] {
  if (groupOf === undefined) return rows.map((row) => ({ row }));
  const items: Item<R>[] = [];
  for (let from = 0; from < rows.length; ) {
    const id = groupOf(rows[from] as R);
    let to = from;
    while (to < rows.length && groupOf(rows[to] as R) === id) to += 1;
    const members = rows.slice(from, to);
    items.push({ group: { id, head: groupHead?.(id, members) ?? id } }, ...members.map((row) => ({ row })));
    from = to;
  }
  return items;
}

export function Table<R>(props: TableProps<R>) {
  const { label, columns, rows, keyOf, hrefOf, sort = null, onSort, fill = false, heights = [32, 84], keys = false } = props;
  const box = useRef<HTMLDivElement>(null);
  const narrow = useMedia(NARROW);
  const [sight, setSight] = useState({ top: 0, height: 1_200 });
  const [active, setActive] = useState<string | null>(null);
  const items = itemsOf(rows, props);
  const height = (item: Item<R>): number => ("group" in item ? 32 : heights[narrow ? 1 : 0]);
  const whole = !fill || items.length < WHOLE_BELOW;
  const [from, to, before, after] = whole ? [0, items.length, 0, 0] : inSight(items.map(height), sight.top, sight.height);

  const look = (): void => {
    const element = box.current;
    if (element !== null && !whole) setSight({ top: element.scrollTop, height: element.clientHeight });
  };
  useLayoutEffect(look, [whole, narrow, items.length]);

  const move = (step: number): void => {
    const order = rows.map(keyOf);
    const at = active === null ? -1 : order.indexOf(active);
    const next = order[Math.min(Math.max(at + step, 0), order.length - 1)];
    if (next === undefined) return;
    setActive(next);
    reveal(box.current, items, height, (item) => "row" in item && keyOf(item.row) === next);
  };
  useKeys(
    keys
      ? {
          j: () => move(1),
          k: () => move(-1),
          Enter: () => {
            const row = rows.find((one) => keyOf(one) === active);
            if (row !== undefined && hrefOf !== undefined) go(hrefOf(row));
          },
        }
      : {},
  );
  useEffect(() => {
    // The row's link takes the focus, so that a screen reader says where one is.
    if (active !== null) box.current?.querySelector<HTMLElement>("tr.active a")?.focus({ preventScroll: true });
  }, [active, from]);

  return (
    <div ref={box} class={fill ? "table-box fill" : "table-box"} onScroll={look} tabIndex={0} role="region" aria-label={label}>
      <table aria-label={label} aria-rowcount={rows.length + 1} style={{ minWidth: narrow ? undefined : `${columns.reduce((sum, column) => sum + (column.width ?? column.least ?? 220), 0)}px` }}>
        <colgroup>
          {columns.map((column) => (
            <col key={column.id} style={{ width: column.width === undefined ? undefined : `${column.width}px` }} />
          ))}
        </colgroup>
        <thead>
          <tr>
            {columns.map((column) => (
              <Head key={column.id} column={column} sort={sort} onSort={onSort} />
            ))}
          </tr>
        </thead>
        <tbody>
          {before > 0 ? <tr class="spacer" style={{ height: `${before}px` }} aria-hidden="true" /> : null}
          {items.slice(from, to).map((item) =>
            "group" in item ? (
              <tr key={`group ${item.group.id}`} class="group">
                <th colSpan={columns.length} scope="rowgroup">
                  {item.group.head}
                </th>
              </tr>
            ) : (
              <tr key={keyOf(item.row)} class={keyOf(item.row) === active ? "active" : undefined} onClick={(event) => open(event, hrefOf?.(item.row))}>
                {columns.map((column) => (
                  <td key={column.id} data-label={column.head} class={`c-${column.id}${column.right === true ? " right" : ""}`}>
                    {column.cell(item.row)}
                  </td>
                ))}
              </tr>
            ),
          )}
          {after > 0 ? <tr class="spacer" style={{ height: `${after}px` }} aria-hidden="true" /> : null}
        </tbody>
      </table>
      {rows.length === 0 ? props.children : null}
    </div>
  );
}

function Head<R>({ column, sort, onSort }: { column: Column<R>; sort: string | null; onSort: ((sort: string | null) => void) | undefined }) {
  const up = sort === column.id;
  const down = sort === `-${column.id}`;
  const classes = `c-${column.id}${column.right === true ? " right" : ""}`;
  if (column.by === undefined || onSort === undefined) {
    return (
      <th scope="col" class={classes} title={column.about}>
        {column.head}
      </th>
    );
  }
  return (
    <th scope="col" class={classes} title={column.about} aria-sort={up ? "ascending" : down ? "descending" : "none"}>
      <button type="button" class="head" onClick={() => onSort(up ? `-${column.id}` : down ? null : column.id)}>
        {column.head}
        <span aria-hidden="true" class="arrow">
          {up ? "↑" : down ? "↓" : ""}
        </span>
      </button>
    </th>
  );
}

function open(event: MouseEvent, href: string | undefined): void {
  if (href === undefined || event.defaultPrevented || (event.target instanceof Element && event.target.closest("a,button,summary") !== null)) return;
  if (window.getSelection()?.toString() !== "") return;
  go(href);
}

/** Which items are in sight, and the heights before and after them. */
export function inSight(heights: number[], top: number, height: number): [from: number, to: number, before: number, after: number] {
  let from = 0;
  let before = 0;
  while (from < heights.length && before + (heights[from] ?? 0) <= top) before += heights[from++] ?? 0;
  let to = from;
  for (let seen = before; to < heights.length && seen < top + height; to += 1) seen += heights[to] ?? 0;
  for (let step = 0; step < BEYOND && from > 0; step += 1) before -= heights[--from] ?? 0;
  to = Math.min(heights.length, to + BEYOND);
  return [from, to, before, heights.slice(to).reduce((sum, one) => sum + one, 0)];
}

function reveal<R>(box: HTMLDivElement | null, items: Item<R>[], height: (item: Item<R>) => number, wanted: (item: Item<R>) => boolean): void {
  if (box === null) return;
  const index = items.findIndex(wanted);
  const top = items.slice(0, index).reduce((sum, item) => sum + height(item), 0);
  const item = items[index];
  if (item === undefined) return;
  const head = 32;
  if (top < box.scrollTop) box.scrollTop = Math.max(0, top - head);
  else if (top + height(item) + head > box.scrollTop + box.clientHeight) box.scrollTop = top + height(item) + head - box.clientHeight;
}
