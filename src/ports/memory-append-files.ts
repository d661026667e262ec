import { TroupeError } from '../base/errors.ts';
import type { AppendFile, AppendFiles } from './append-files.ts';

interface Content {
  text: string;
  durable: string;
}

/** Append files in memory, for the simulator and for tests: the end of a process takes nothing, a crash of the machine what was not synced. */
export class MemoryAppendFiles implements AppendFiles {
  readonly #files = new Map<string, Content>();
  /** While set, every write fails. */
  full = false;

  async open(path: string, bytesMax: number): Promise<{ readonly text: string; readonly file: AppendFile }> {
    const content = this.#files.get(path) ?? { text: '', durable: '' };
    this.#files.set(path, content);
    if (content.text.length > bytesMax) throw new TroupeError('FILE_UNREADABLE', `cannot read ${path}: it has ${content.text.length} bytes; at most ${bytesMax} are read`, { path });
    const change = async (run: () => void): Promise<void> => {
      await Promise.resolve();
      if (this.full) throw new TroupeError('DISK_FULL', `cannot write ${path}: the disk is full`, { path });
      run();
    };
    return {
      text: content.text,
      file: {
        append: (text) => change(() => void (content.text += text)),
        sync: () => change(() => void (content.durable = content.text)),
        replace: (text) => change(() => void (content.text = content.durable = text)),
        close: async () => {},
      },
    };
  }

  read(path: string): string {
    return this.#files.get(path)?.text ?? '';
  }

  write(path: string, text: string): void {
    this.#files.set(path, { text, durable: text });
  }

  /** Power loss. */
  crash(): void {
    for (const content of this.#files.values()) content.text = content.durable;
  }
}
