// SPDX-License-Identifier: LGPL-2.1-or-later
/* sound IMAGE: replays its journal, and says if anything else had to be repaired. It changes the
 * image. */
#include <stdio.h>

#include "image.h"

int main(int argc, char **argv)
{
    g_autofree char *wrong = NULL;

    if (argc != 2) {
        fprintf(stderr, "usage: sound IMAGE\n");
        return 2;
    }
    wrong = image_check(argv[1]);
    if (wrong)
        printf("%s: %s\n", argv[1], wrong);
    return wrong ? 1 : 0;
}
