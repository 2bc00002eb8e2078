#ifndef CW_SHARE_H
#define CW_SHARE_H

/* Makes the memory of this process cheap to clone. What cannot be moved stays
 * as it is. */
void share_memory(void);

#endif
