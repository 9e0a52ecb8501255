// Parts that every view is made of.
import {get} from './api.js';
import {html, useEffect, useRef, useState} from './lib.js';

const SHAPES = {
  good: html`<circle cx="6" cy="6" r="4.5" />`,
  warn: html`<path d="M6 .8 11.6 11H.4z" />`,
  bad: html`<path d="M3.6.6h4.8l3 3v4.8l-3 3H3.6l-3-3V3.6z" />`,
  going: html`<circle cx="6" cy="6" r="4.5" />`,
  idle: html`<circle cx="6" cy="6" r="3.6" class="hollow" />`,
};

/** A word with a shape and a colour of its own: none of the three says it alone. */
export function State({kind, children, title}) {
  return html`<span class="state ${kind}" title=${title}>
    <svg viewBox="0 0 12 12" aria-hidden="true">${SHAPES[kind]}</svg>${children}
  </span>`;
}

export const Badge = ({kind = 'plain', children}) => html`<span class="badge ${kind}">${children}</span>`;

export const Notice = ({kind = 'info', children}) => html`<div class="notice ${kind}">${children}</div>`;

export const Empty = ({children}) => html`<p class="empty">${children}</p>`;

/**
 * Rows of facts. On a narrow screen each row is a card, its cells named by their columns.
 * columns: [{key, label, render(row), num, by(row), head, wide}]; `by`: what it is sorted by, `head`: it names the row.
 */
export function Table({caption, columns, rows, rowKey, empty, sorted, hidden = true, className = ''}) {
  const [order, setOrder] = useState(sorted || null); // {key, down}
  const column = order && columns.find((one) => one.key === order.key);
  const shown = column && column.by ? [...rows].sort(comparing(column.by, order.down)) : rows;
  const turn = (one) =>
    setOrder(order && order.key === one.key ? {key: one.key, down: !order.down} : {key: one.key, down: !!one.num});
  return html`<table class="data ${className}">
    <caption class=${hidden ? 'unseen' : ''}>${caption}</caption>
    <thead>
      <tr>
        ${columns.map((one) => {
          const is = order && order.key === one.key;
          return html`<th
            key=${one.key}
            scope="col"
            class=${one.num ? 'num' : ''}
            aria-sort=${is ? (order.down ? 'descending' : 'ascending') : undefined}
          >
            ${one.by
              ? html`<button type="button" class="sort" onClick=${() => turn(one)}>
                  ${one.label}<span aria-hidden="true">${is ? (order.down ? ' ▾' : ' ▴') : ''}</span>
                </button>`
              : one.label || html`<span class="unseen">${one.name}</span>`}
          </th>`;
        })}
      </tr>
    </thead>
    <tbody>
      ${shown.map(
        (row) => html`<tr key=${rowKey(row)}>
          ${columns.map((one) => {
            const of = one.render(row);
            const classes = `${one.num ? 'num' : ''} ${one.wide ? 'wide' : ''} ${of == null || of === '' ? 'none' : ''}`;
            return one.head
              ? html`<th key=${one.key} scope="row" class=${classes} data-label=${one.label}>${of}</th>`
              : html`<td key=${one.key} class=${classes} data-label=${one.label}>${of}</td>`;
          })}
        </tr>`,
      )}
      ${!rows.length && html`<tr class="none"><td colspan=${columns.length}>${empty || 'Nothing.'}</td></tr>`}
    </tbody>
  </table>`;
}

function comparing(by, down) {
  return (one, other) => {
    const [a, b] = [by(one), by(other)];
    const order = typeof a === 'string' || typeof b === 'string' ? String(a).localeCompare(String(b), 'en', {numeric: true}) : (a ?? -1) - (b ?? -1);
    return down ? -order : order;
  };
}

/** A document of /api, asked for now and then while it is shown: {data, error, at, again}. */
export function useDocument(path, every = 5000) {
  const [answer, setAnswer] = useState({data: null, error: null, at: 0});
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (!path) return undefined;
    const abort = new AbortController();
    let timer;
    const ask = async () => {
      try {
        const data = await get(path, {signal: abort.signal});
        setAnswer({data, error: null, at: Date.now()});
      } catch (error) {
        if (abort.signal.aborted) return;
        setAnswer((before) => ({...before, error}));
        if (error.isAbsent || error.status === 401 || error.status === 403) return; // in five seconds it is the same
      }
      if (every) timer = setTimeout(ask, every);
    };
    ask();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [path, every, turn]);
  return {...answer, again: () => setTurn((n) => n + 1)};
}

/** What is shown in the place of a document that is not there. */
export function Missing({error, what}) {
  if (!error) return html`<p class="empty" role="status">Asking for ${what}…</p>`;
  if (error.isAbsent) {
    return html`<${Notice}>This proxy does not tell ${what}: its version was built without it.<//>`;
  }
  return html`<${Notice} kind="bad">${what[0].toUpperCase() + what.slice(1)}: ${error.message}<//>`;
}

/** A modal dialog: focus stays in it, Escape closes it, and whoever opened it has the focus again. */
export function Dialog({title, onClose, children, busy}) {
  const ref = useRef(null);
  useEffect(() => {
    const dialog = ref.current;
    const opener = document.activeElement;
    dialog.showModal();
    return () => {
      dialog.close();
      if (opener && opener.isConnected) opener.focus();
    };
  }, []);
  const cancel = (event) => {
    event.preventDefault();
    if (!busy) onClose();
  };
  return html`<dialog ref=${ref} aria-labelledby="dialog-title" onCancel=${cancel}>
    <h2 id="dialog-title" tabindex="-1">${title}</h2>
    ${children}
  </dialog>`;
}

export function Segments({label, value, options, onChange}) {
  return html`<fieldset class="segments">
    <legend class="unseen">${label}</legend>
    ${options.map(
      ([key, text]) => html`<label key=${key} class=${key === value ? 'on' : ''}>
        <input type="radio" name=${label} value=${key} checked=${key === value} onChange=${() => onChange(key)} />${text}
      </label>`,
    )}
  </fieldset>`;
}
