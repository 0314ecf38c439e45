/** Words that name a split in files and folders of datasets on the Hugging Face Hub. */
const SPLIT_WORDS: readonly [split: string, words: readonly string[]][] = [
  ['train', ['train', 'training']],
  ['validation', ['validation', 'valid', 'val', 'dev']],
  ['test', ['test', 'testing', 'eval', 'evaluation']],
]

/**
 * The split that a file of a dataset folder belongs to: `train` for `data/train-00000-of-00003.parquet`, `validation` for `dev/part.jsonl`.
 * The file's name decides, then its folders from the inside out; without any such word it is `train`. A numbered file may name a split of
 * its own: `train_sft-00000-of-00003.parquet` is `train_sft`.
 * @param path relative to the dataset folder, with forward slashes
 */
export function splitOf(path: string): string {
  for (const part of path.split('/').reverse()) {
    const words = part.toLowerCase().split(/[^a-z]+/)
    const found = SPLIT_WORDS.find(([, names]) => words.some((word) => names.includes(word)))
    if (!found) continue
    const [split, names] = found
    const numbered = /^(.+)-\d{5}-of-\d{5}\./.exec(part)?.[1]
    return numbered === undefined || names.includes(numbered.toLowerCase()) ? split : numbered
  }
  return 'train'
}
