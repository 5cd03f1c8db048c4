/* Answers images with the packed network of network.h, in integers but for the last line of arithmetic.
 *
 *     cc -O2 -o runner runner.c
 *     ./runner < images > answers
 *
 * An image is PIXELS bytes, in the order of the network's flattened (C, H, W). Each answer is a line: the class, and
 * with an argument (./runner logits) all logits behind it.
 *
 * A value behind a layer is -1, 0 or 1. Bit j of `nonzero` tells whether value j is other than 0, bit j of `positive`
 * whether it is 1. A row of weights has a bit for each input: 1 for +1, 0 for -1.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "network.h"

struct values {
    uint64_t positive[WORDS], nonzero[WORDS];
};

static int32_t sum_of_pixels(const uint64_t *row, const uint8_t *pixels)
{
    int32_t z = 0;
    for (int j = 0; j < PIXELS; j++)
        z += row[j / 64] >> (j % 64) & 1 ? pixels[j] : -(int32_t)pixels[j];
    return z;
}

/* Inputs that agree with their weights less those that do not; those that are 0 count as neither. */
static int32_t sum_of_values(const uint64_t *row, const struct values *x, int words)
{
    int32_t z = 0;
    for (int w = 0; w < words; w++)
        z += __builtin_popcountll(x->nonzero[w]) - 2 * __builtin_popcountll((row[w] ^ x->positive[w]) & x->nonzero[w]);
    return z;
}

static int answer(const uint8_t *pixels, float *logits)
{
    struct values x, y;
    for (int l = 0; l < HIDDEN; l++) {
        const struct layer *layer = &hidden[l];
        int words = (layer->inputs + 63) / 64;
        memset(&y, 0, sizeof y);
        for (int i = 0; i < layer->units; i++) {
            const uint64_t *row = layer->weights + (size_t)i * words;
            int32_t z = l ? sum_of_values(row, &x, words) : sum_of_pixels(row, pixels);
            int value = z >= layer->at_least[i] ? 1 : z <= layer->at_most[i] ? LOW : 0;
            y.nonzero[i / 64] |= (uint64_t)(value != 0) << (i % 64);
            y.positive[i / 64] |= (uint64_t)(value == 1) << (i % 64);
        }
        x = y;
    }
    int best = 0, words = (hidden[HIDDEN - 1].units + 63) / 64;
    for (int k = 0; k < CLASSES; k++) {
        logits[k] = (float)(scale[k] * sum_of_values(last + (size_t)k * words, &x, words) + offset[k]);
        if (logits[k] > logits[best])
            best = k;
    }
    return best;
}

int main(int count, char **arguments)
{
    uint8_t pixels[PIXELS];
    float logits[CLASSES];
    (void)arguments;
    while (fread(pixels, 1, PIXELS, stdin) == PIXELS) {
        printf("%d", answer(pixels, logits));
        for (int k = 0; count > 1 && k < CLASSES; k++)
            printf(" %.9g", logits[k]);
        putchar('\n');
    }
    return 0;
}
