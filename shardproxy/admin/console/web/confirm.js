// Says what will happen, has dangerous things confirmed by typing a name, and tells what became of it.
import {post} from './api.js';
import {Dialog} from './parts.js';
import {html, useEffect, useRef, useState} from './lib.js';

/** One of several actions is chosen first. */
export function Confirm({title, actions, onClose, onDone, mayAct}) {
  const [key, setKey] = useState(actions[0].key);
  const action = actions.find((one) => one.key === key);
  const [busy, setBusy] = useState(false);
  return html`<${Dialog} title=${title} onClose=${onClose} busy=${busy}>
    ${actions.length > 1 &&
    html`<fieldset class="choices" disabled=${busy}>
      <legend>What is to be done</legend>
      ${actions.map(
        (one) => html`<label key=${one.key}>
          <input type="radio" name="action" value=${one.key} checked=${one.key === key} onChange=${() => setKey(one.key)} />
          ${one.label}
        </label>`,
      )}
    </fieldset>`}
    <${Form} key=${key} action=${action} busy=${busy} setBusy=${setBusy} onClose=${onClose} onDone=${onDone} mayAct=${mayAct} />
  <//>`;
}

function Form({action, busy, setBusy, onClose, onDone, mayAct}) {
  const [values, setValues] = useState(() => Object.fromEntries((action.fields || []).map((field) => [field.name, field.value ?? field.options?.[0]?.[0] ?? ''])));
  const [typed, setTyped] = useState('');
  const [failure, setFailure] = useState('');
  const [plan, setPlan] = useState(null);
  const failed = useRef(null);
  useEffect(() => {
    if (failure && failed.current) failed.current.focus();
  }, [failure]);
  const isJob = !!action.kind;
  const job = () => ({cluster: action.cluster, kind: action.kind, wants: action.wants(values)});
  const set = (name, value) => {
    setValues({...values, [name]: value});
    setPlan(null);
  };
  const isTyped = action.type == null || typed === action.type;
  const isReady = isTyped && mayAct && (!isJob || (plan && !plan.why_not));
  const doing = async (work) => {
    setBusy(true);
    setFailure('');
    try {
      await work();
    } catch (error) {
      setFailure(error.message);
    } finally {
      setBusy(false);
    }
  };
  const planned = () => doing(async () => setPlan((await post('api/jobs/plan', job())).plan));
  const run = () =>
    doing(async () => {
      const answer = isJob ? await post('api/jobs/start', job()) : await action.run(values);
      const done = isJob ? `${answer.job.kind} ${answer.job.id} of ${answer.job.cluster} is asked for: Jobs show how far it is.` : action.done;
      onDone(typeof done === 'function' ? done(answer) : done);
    });
  const submit = (event) => {
    event.preventDefault();
    if (busy) return;
    if (isJob && !plan) planned();
    else if (isReady) run();
  };
  return html`<form onSubmit=${submit}>
    <p class="what ${action.isDangerous ? 'danger' : ''}" id="what">${action.words(values)}</p>
    ${(action.fields || []).map((field) => html`<${Field} key=${field.name} field=${field} value=${values[field.name]} onChange=${(value) => set(field.name, value)} disabled=${busy} />`)}
    <div role="status" class="plan">
      ${plan && html`<h3>The plan</h3><ul>${(plan.lines || []).map((line) => html`<li>${line}</li>`)}</ul>`}
      ${plan && plan.why_not && html`<p class="bad">It cannot be done: ${plan.why_not}</p>`}
    </div>
    ${action.type != null &&
    html`<label class="field">Type <strong>${action.type}</strong> to confirm
      <input type="text" name="confirm" autocomplete="off" autocapitalize="off" spellcheck=${false} value=${typed} onInput=${(e) => setTyped(e.target.value)} disabled=${busy} aria-describedby="what" />
    </label>`}
    ${!mayAct && html`<p class="bad">You may only read here: give a token that may act.</p>`}
    <div role="alert">${failure && html`<p class="bad" tabindex="-1" ref=${failed}>${failure}</p>`}</div>
    <div class="buttons">
      <button type="button" onClick=${onClose} disabled=${busy}>Leave it</button>
      ${isJob && !plan
        ? html`<button type="submit" class="primary" disabled=${busy || !mayAct}>${busy ? 'Planning…' : 'Show the plan'}</button>`
        : html`<button type="submit" class=${action.isDangerous ? 'danger' : 'primary'} disabled=${busy || !isReady}>${busy ? 'Under way…' : action.button}</button>`}
    </div>
  </form>`;
}

function Field({field, value, onChange, disabled}) {
  return html`<label class="field">${field.label}
    ${field.options
      ? html`<select name=${field.name} value=${value} disabled=${disabled} onChange=${(e) => onChange(e.target.value)}>
          ${field.options.map(([key, text]) => html`<option key=${key} value=${key} selected=${key === value}>${text}</option>`)}
        </select>`
      : html`<input name=${field.name} type=${field.type || 'text'} min=${field.min} max=${field.max} required=${field.required} value=${value} disabled=${disabled} autocomplete="off" onInput=${(e) => onChange(e.target.value)} />`}
  </label>`;
}
