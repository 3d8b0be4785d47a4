/**
 * The log of a job, as compact as it can be: bodies stay the text they came in, joined into blocks, and blocks that
 * are full are deflated. A million lines of log take some tens of megabytes, and none of them is an object.
 */

import { Folds, isNoisy } from './folds';

const BLOCK_EVENTS = 2048;
const BLOCK_CHARS = 512 * 1024;
/** Blocks that were unpacked to be read and stay so for a while. */
const UNPACKED = 8;

interface Block {
  /** The number of its first event. */
  first: number;
  count: number;
  chars: number;
  /** While it is filled, or unpacked. */
  lines?: string[];
  packed?: Uint8Array<ArrayBuffer>;
}

export interface Entry {
  seq: number;
  kind: string;
  time: number;
  body: string;
}

export class Log {
  readonly folds = new Folds();
  #kinds = new Uint8Array(1024);
  #times = new Float64Array(1024);
  #names: string[] = [];
  #numbers = new Map<string, number>();
  #counts = new Map<string, number>();
  #blocks: Block[] = [];
  #count = 0;
  #recent: Block[] = [];
  #packing: Promise<void> = Promise.resolve();

  get count(): number {
    return this.#count;
  }

  /** How many events there are of each kind. */
  get counts(): ReadonlyMap<string, number> {
    return this.#counts;
  }

  kind(seq: number): string {
    return this.#names[this.#kinds[seq - 1] as number] ?? '';
  }

  time(seq: number): number {
    return this.#times[seq - 1] as number;
  }

  nameOf(number: number): string {
    return this.#names[number] ?? '';
  }

  /** Adds the next event; its number is the count after. */
  append(kind: string, time: number, body: string): void {
    const index = this.#count++;
    if (index === this.#kinds.length) this.#grow();
    const number = this.#numberOf(kind);
    this.#kinds[index] = number;
    this.#times[index] = time;
    const name = this.nameOf(number);
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    this.folds.append(index + 1, number, isNoisy(kind));
    // One line each: a body with line breaks between its tokens is written without them.
    const line = body.includes('\n') ? oneLine(body) : body;
    let block = this.#blocks.at(-1);
    if (!block?.lines || block.packed || block.count === BLOCK_EVENTS || block.chars > BLOCK_CHARS) {
      if (block) this.#pack(block);
      block = { first: index + 1, count: 0, chars: 0, lines: [] };
      this.#blocks.push(block);
    }
    block.lines?.push(line);
    block.count++;
    block.chars += line.length;
  }

  async read(first: number, last: number): Promise<Entry[]> {
    const entries: Entry[] = [];
    for (let at = this.#blockOf(first); at < this.#blocks.length; at++) {
      const block = this.#blocks[at] as Block;
      if (block.first > last) break;
      const lines = await this.#lines(block);
      const from = Math.max(first, block.first);
      const to = Math.min(last, block.first + lines.length - 1);
      for (let seq = from; seq <= to; seq++)
        entries.push({ seq, kind: this.kind(seq), time: this.time(seq), body: lines[seq - block.first] as string });
    }
    return entries;
  }

  async get(seq: number): Promise<Entry | undefined> {
    return seq >= 1 && seq <= this.#count ? (await this.read(seq, seq))[0] : undefined;
  }

  /** The numbers, from `from`, of events of these kinds (all when empty) whose text holds `needle`, a block at a time. */
  async *search(kinds: ReadonlySet<string>, needle: string, from = 1): AsyncGenerator<{ found: number[]; upTo: number }> {
    const text = JSON.stringify(needle.toLowerCase()).slice(1, -1);
    for (let at = this.#blockOf(from); at < this.#blocks.length; at++) {
      const block = this.#blocks[at] as Block;
      const lines = text ? await this.#lines(block, false) : [];
      const found: number[] = [];
      const { count } = block;
      for (let i = Math.max(0, from - block.first); i < count; i++) {
        const seq = block.first + i;
        if (kinds.size > 0 && !kinds.has(this.kind(seq))) continue;
        if (!text || lines[i]?.toLowerCase().includes(text)) found.push(seq);
      }
      yield { found, upTo: block.first + count - 1 };
    }
  }

  /** What it takes in bytes, roughly; for tests and for the curious. */
  get bytes(): number {
    const held = (block: Block) => (block.packed?.byteLength ?? 0) + (block.lines ? block.chars : 0);
    return this.#kinds.byteLength + this.#times.byteLength + this.#blocks.reduce((sum, b) => sum + held(b), 0);
  }

  /** Resolves when everything that is full is packed. */
  settled(): Promise<void> {
    return this.#packing;
  }

  async #lines(block: Block, keep = true): Promise<string[]> {
    if (block.lines) return block.lines;
    const text = await inflate(block.packed as Uint8Array<ArrayBuffer>);
    const lines = text.split('\n');
    if (!keep) return lines;
    block.lines = lines;
    this.#recent.push(block);
    const old = this.#recent.length > UNPACKED ? this.#recent.shift() : undefined;
    if (old?.packed && old !== block) old.lines = undefined;
    return lines;
  }

  #pack(block: Block): void {
    this.#packing = this.#packing.then(async () => {
      if (!block.lines || block.packed) return;
      block.packed = await deflate(block.lines.join('\n'));
      block.lines = undefined;
    });
  }

  #blockOf(seq: number): number {
    let low = 0;
    let high = this.#blocks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#blocks[middle] as Block).first <= seq) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  #numberOf(kind: string): number {
    let number = this.#numbers.get(kind);
    if (number === undefined) {
      // A byte a kind: what a hostile peer invents beyond that shares the last number.
      number = Math.min(this.#names.length, 255);
      if (number === this.#names.length) this.#names.push(kind);
      if (this.#numbers.size < 4096) this.#numbers.set(kind, number);
    }
    return number;
  }

  #grow(): void {
    const kinds = new Uint8Array(this.#kinds.length * 2);
    kinds.set(this.#kinds);
    this.#kinds = kinds;
    const times = new Float64Array(this.#times.length * 2);
    times.set(this.#times);
    this.#times = times;
  }
}

function oneLine(body: string): string {
  try {
    return JSON.stringify(JSON.parse(body));
  } catch {
    return '{}';
  }
}

async function deflate(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const stream = new Blob([text]).stream().pipeThrough(new CompressionStream('deflate-raw'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

async function inflate(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  return new Response(stream).text();
}
