// Asking our own server: JSON, and images as bitmaps. Errors have a sentence and perhaps a hint.

export class Failure extends Error {
  constructor(text, hint, status) {
    super(text);
    this.hint = hint || '';
    this.status = status;
  }
}

async function ask(path, signal) {
  let answer;
  try {
    answer = await fetch(path, { signal, cache: 'no-store' });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new Failure('mvc view does not answer any more', 'start it again', 0);
  }
  if (answer.ok) return answer;
  const told = await answer.json().catch(() => ({}));
  throw new Failure(told.error || `the server says ${answer.status}`, told.hint, answer.status);
}

export async function json(path, signal) {
  return (await ask(path, signal)).json();
}

// The bitmap of an image, and what is wrong with its file, or ''.
export async function bitmap(path, signal) {
  const answer = await ask(path, signal);
  const damaged = decodeURIComponent(answer.headers.get('X-Mvc-Damaged') || '');
  return { bitmap: await createImageBitmap(await answer.blob()), damaged };
}

export async function blob(path, signal) {
  return (await ask(path, signal)).blob();
}

// Keeps no more than so many requests under way, so that nothing queues up where it cannot be taken back.
export class Lane {
  constructor(most) {
    this.most = most;
    this.busy = 0;
    this.waiting = [];
  }

  run(action, signal) {
    return new Promise((done, failed) => {
      this.waiting.push({ action, signal, done, failed });
      this.next();
    });
  }

  next() {
    while (this.busy < this.most && this.waiting.length) {
      const { action, signal, done, failed } = this.waiting.shift();
      if (signal.aborted) {
        failed(new DOMException('not wanted', 'AbortError'));
        continue;
      }
      this.busy += 1;
      action(signal).then(done, failed).finally(() => {
        this.busy -= 1;
        this.next();
      });
    }
  }
}
