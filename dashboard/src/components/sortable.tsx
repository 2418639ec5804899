import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";

export interface Column<Row> {
  key: string;
  title: ComponentChildren;
  render: (row: Row) => ComponentChildren;
  /** What to sort by; a column without it is not sortable. Null sorts last either way. */
  order?: (row: Row) => number | string | null;
  numeric?: boolean;
}

interface SortableTableProps<Row> {
  caption: string;
  columns: readonly Column<Row>[];
  rows: readonly Row[];
  rowKey: (row: Row) => string;
  /** Stays at the end, however the rows are sorted. */
  last?: (row: Row) => boolean;
  rowsShown?: number;
}

interface Sort {
  key: string;
  descending: boolean;
}

/** Sort rows; equal ones keep their order, rows without a value come last. */
export function sortRows<Row>(rows: readonly Row[], order: (row: Row) => number | string | null, descending: boolean): Row[] {
  const direction = descending ? -1 : 1;
  return [...rows].sort((one, other) => {
    const [a, b] = [order(one), order(other)];
    if (a === null || b === null) return Number(a === null) - Number(b === null);
    return a === b ? 0 : a < b ? -direction : direction;
  });
}

function SortMark({ direction }: { direction: "ascending" | "descending" | undefined }) {
  return (
    <span class="sort-mark" aria-hidden="true">
      {direction === "descending" ? "↓" : direction === "ascending" ? "↑" : ""}
    </span>
  );
}

/** A table whose column heads sort it. */
export function SortableTable<Row>({ caption, columns, rows, rowKey, last, rowsShown = 100 }: SortableTableProps<Row>) {
  const [sort, setSort] = useState<Sort | null>(null);
  const [all, setAll] = useState(false);
  const by = columns.find(({ key }) => key === sort?.key)?.order;
  let sorted = sort && by ? sortRows(rows, by, sort.descending) : rows;
  if (last) sorted = [...sorted.filter((row) => !last(row)), ...sorted.filter(last)];
  const shown = all ? sorted : sorted.slice(0, rowsShown);

  const toggle = (column: Column<Row>) =>
    setSort((before) => ({
      key: column.key,
      descending: before?.key === column.key ? !before.descending : column.numeric === true,
    }));

  return (
    <>
      <div class="table-scroll" role="region" aria-label={caption} tabIndex={0}>
        <table class="data">
          <caption class="sr-only">{caption}</caption>
          <thead>
            <tr>
              {columns.map((column) => {
                const direction = sort?.key === column.key ? (sort.descending ? "descending" : "ascending") : undefined;
                return (
                  <th key={column.key} scope="col" class={column.numeric ? "number" : ""} aria-sort={direction}>
                    {column.order ? (
                      <button type="button" onClick={() => toggle(column)}>
                        {column.numeric && <SortMark direction={direction} />}
                        {column.title}
                        {!column.numeric && <SortMark direction={direction} />}
                      </button>
                    ) : (
                      column.title
                    )}
                  </th>
                );
              })}
            </tr>
          </thead>
          <tbody>
            {shown.map((row) => (
              <tr key={rowKey(row)}>
                {columns.map((column, index) =>
                  index === 0 ? (
                    <th key={column.key} scope="row">
                      {column.render(row)}
                    </th>
                  ) : (
                    <td key={column.key} class={column.numeric ? "number" : ""}>
                      {column.render(row)}
                    </td>
                  ),
                )}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {sorted.length > shown.length && (
        <button type="button" class="more" onClick={() => setAll(true)}>
          Show all {sorted.length} rows
        </button>
      )}
    </>
  );
}
