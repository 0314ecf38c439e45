// paged_query.cuh: the query of a row of a paged batch, without the search where each sequence has one query, as in a step of decoding.
#pragma once
#include "sequences.cuh"

/**
 * What findQuery says of a row of a paged batch. First of all it loads, all at once, what there is of the sequence of the row's number: a search is a
 * chain of loads, half a microsecond each.
 */
PHSA_DEVICE Query findPagedQuery(const Sequences& sequences, const Rules& rules, int row) {
  const int guess = min(row, sequences.sequences - 1);
  if (guess >= 0) {
    const int start = sequences.queryStarts[guess];
    const int end = sequences.queryStarts[guess + 1];
    const int length = sequences.keyLengths[guess];
    const int topK = sequences.topK[guess];
    const int denseBelow = sequences.denseBelow[guess];
    if (start <= row && row < end) return Query{guess, length - end + row, min(topK, rules.topK), denseBelow};
  }
  return findQuery(sequences, rules, row);
}
