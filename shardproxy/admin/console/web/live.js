// What is known of the process now, and rates of the last minutes. Follows /api/stream, and asks anew when it ends.
import {ApiError, events, get} from './api.js';

const KEPT = 300; // seconds of rates
const SILENT = 6000; // ms without a word after which a stream is given up
const HIDDEN = 120000; // ms that a page nobody looks at goes on following
const UNTIL_TOLD = 3600000; // ms: until `again`, as good as
const DOCUMENTS = ['process', 'status', 'topology', 'jobs', 'events'];

export class Live {
  constructor(changed) {
    this.known = {}; // documents by name; nodes of the status have `began`, in ms, beside `since`
    this.rates = {}; // the latest, by cluster
    this.history = {}; // by cluster: [{at, of}]
    this.link = {state: 'connecting', why: ''};
    this._changed = changed;
    this._stopped = false;
    this._abort = null;
    this._wake = null;
    this._shown = document.visibilityState !== 'hidden';
  }

  start() {
    this._visible = () => this._look();
    document.addEventListener('visibilitychange', this._visible);
    this._run();
  }

  stop() {
    this._stopped = true;
    document.removeEventListener('visibilitychange', this._visible);
    this.again();
  }

  /** Ask anew at once, as with another token. */
  again() {
    if (this._abort) this._abort.abort();
    if (this._wake) this._wake();
  }

  _look() {
    clearTimeout(this._hiding);
    if (document.visibilityState === 'hidden') {
      this._hiding = setTimeout(() => {
        this._shown = false;
        this.again();
      }, HIDDEN);
    } else if (!this._shown) {
      this._shown = true;
      this.again();
    }
  }

  async _run() {
    let failures = 0;
    while (!this._stopped) {
      if (!this._shown) {
        this._say('paused', 'nobody looks');
        await this._wait(UNTIL_TOLD);
        continue;
      }
      const began = Date.now();
      try {
        await this._follow();
        failures = Date.now() - began > 2000 ? 0 : failures + 1;
      } catch (error) {
        failures += 1;
        if (error instanceof ApiError && error.status === 401) {
          this._say('token', error.message);
          await this._wait(UNTIL_TOLD); // every try is a line of the audit log
          failures = 0;
        } else if (error instanceof ApiError && error.status === 503) await this._poll(error.message);
        else this._say('lost', error instanceof ApiError ? error.message : 'The stream was cut.');
      }
      if (failures && !this._stopped) await this._wait(Math.min(10000, 500 * 2 ** failures));
    }
  }

  async _follow() {
    this._abort = new AbortController();
    let timer = setTimeout(() => this._abort.abort(), SILENT);
    try {
      for await (const {event, data} of events('api/stream', this._abort.signal)) {
        clearTimeout(timer);
        timer = setTimeout(() => this._abort.abort(), SILENT);
        if (event === 'state') this._take(data);
        if (event === 'rates') this._rated(data);
        this._say('live', '');
      }
    } finally {
      clearTimeout(timer);
    }
  }

  /** Where as many follow as may: documents alone, now and then. */
  async _poll(why) {
    try {
      const asked = DOCUMENTS.map((name) => get(`api/${name}`).then((document) => [name, document]));
      this._take(Object.fromEntries(await Promise.all(asked)));
      this._say('polling', why);
    } catch (error) {
      this._say('lost', error.message);
    }
  }

  _take(documents) {
    Object.assign(this.known, documents);
    for (const cluster of Object.values(documents.status?.clusters || {})) {
      for (const shard of cluster.shards) for (const node of shard.nodes) node.began = node.since == null ? null : Date.now() - node.since * 1000;
    }
  }

  _rated({clusters}) {
    if (!Object.keys(clusters).length) return; // the first look of a process says nothing
    const at = Date.now();
    this.rates = clusters;
    for (const [name, of] of Object.entries(clusters)) {
      const kept = (this.history[name] ||= []);
      kept.push({at, of});
      while (kept.length && at - kept[0].at > KEPT * 1000) kept.shift();
    }
  }

  _say(state, why) {
    this.link = {state, why};
    this._changed();
  }

  _wait(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this._wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
